"""RetinaNet with local attention in its neck and heads on COCO, 150 epochs: the recipe of SASA.

Attention of 7 x 7 pixels and 8 heads takes the place of every 3 x 3 convolution but the last of the
two heads, which mmdet fixes: it mixes the attention heads, as the paper's pointwise one does. In
the heads the projections to values start with standard deviation 0.01, as in the paper. It trains
on crops of 640 x 640 at most, and is tested at that size, for which the paper's costs must be: 182
G FLOPS with convolutions and 110 G with attention everywhere, where ours are 191 and 124 (two for a
multiply-add). The range of sizes and the weight decay are not in the paper: they are ours.
"""

_base_ = './retinanet_coco.py'

epochs = 150
size = (640, 640)

attention = dict(type='mmvisattn.LocalAttention2d', window=7, num_heads=8)
model = dict(
    neck=dict(conv_cfg=attention),
    bbox_head=dict(
        conv_cfg=attention,
        init_cfg=dict(
            type='Normal', layer='LocalAttention2d', std=0.01,
            override=[
                dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.01),
                dict(type='Normal', name='retina_reg', std=0.01),
            ])))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=size, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=size)
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=64)  # 8 GPUs x 8 pictures
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.12, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs, val_interval=10)
