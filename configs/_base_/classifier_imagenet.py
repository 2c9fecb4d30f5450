"""ImageNet-1K from random weights: 300 epochs of 1024 pictures, the recipe of the VAN release.

AdamW 1e-3, RandAugment, mixup, CutMix, random erasing, label smoothing and an average of the
weights. The backbone returns its last map; it and the channels of that map are what each config
fills in.
"""

_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    './runtime.py',
]

default_scope = 'mmpretrain'
epochs = 300
warm_up = 5

model = dict(
    type='ImageClassifier',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))
tta_model = dict(type='AverageClsScoreTTA')

train_dataloader = dict(batch_size=128)  # x 8 GPUs = 1024
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=248)  # of which 224 are 0.9, as in the release of VAN
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=warm_up,
         convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=warm_up, end=epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs, val_interval=5)
custom_hooks = [dict(type='EMAHook', momentum=2e-4, priority='ABOVE_NORMAL')]

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', interval=5, save_best='accuracy/top1', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False))
visualizer = dict(
    type='UniversalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
