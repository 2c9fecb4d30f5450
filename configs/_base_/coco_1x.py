"""What training on COCO shares: 12 epochs of 16 pictures, AdamW as Swin, ConvNeXt and VAN use it.

Normalisation layers and tables of relative positions do not decay. VAN, CoAtNet and SASA train
their BatchNorm, each GPU on its own pictures; ResNet-50 keeps the statistics of ImageNet, and its
stem and first stage stay as they are, as in mmdet (the other networks have no BatchNorm).
"""

_base_ = ['mmdet::_base_/schedules/schedule_1x.py', './runtime.py']

default_scope = 'mmdet'

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={'relative_position_bias_table': dict(decay_mult=0.0)}))

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'))
log_processor = dict(by_epoch=True)
visualizer = dict(
    type='DetLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
