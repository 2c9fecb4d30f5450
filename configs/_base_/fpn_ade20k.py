"""Semantic FPN on ADE20K, 40k iterations of 32 pictures: the recipe of the VAN release.

The backbone and the channels it hands to the neck are what each config fills in.
"""

_base_ = './ade20k.py'

iterations = 40000

model = dict(
    type='mmvisattn.EncoderDecoder',
    data_preprocessor=_base_.preprocessor,
    backbone=dict(out_indices=(0, 1, 2, 3)),
    neck=dict(type='FPN', out_channels=256, num_outs=4),
    decode_head=dict(
        type='FPNHead',
        in_channels=[256, 256, 256, 256],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=_base_.num_classes,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

train_dataloader = dict(batch_size=4)
# Sizes are made multiples of 32: the maps that the neck adds then fit each other exactly.
to_multiple = dict(type='ResizeToMultiple', size_divisor=32)
test_pipeline = _base_.test_pipeline
test_pipeline.insert(2, to_multiple)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms.insert(1, [to_multiple])
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

auto_scale_lr = dict(enable=False, base_batch_size=32)  # 8 GPUs x 4 pictures
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=iterations),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=4000)
default_hooks = dict(checkpoint=dict(interval=4000))
