"""UPerNet on ADE20K, 160k iterations of 16 pictures: the recipe of the VAN release.

Normalisation layers do not decay, whatever they are called: the release goes by names, which leaves
those of the heads out. The backbone and the channels it hands to the heads are what each config
fills in.
"""

_base_ = './ade20k.py'

iterations = 160000
warm_up = 1500

model = dict(
    type='mmvisattn.EncoderDecoder',
    data_preprocessor=_base_.preprocessor,
    backbone=dict(out_indices=(0, 1, 2, 3)),
    decode_head=dict(
        type='UPerHead',
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=_base_.num_classes,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    auxiliary_head=dict(
        type='FCNHead',
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=_base_.num_classes,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

auto_scale_lr = dict(enable=False, base_batch_size=16)  # 8 GPUs x 2 pictures
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=warm_up),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=warm_up, end=iterations),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=16000)
