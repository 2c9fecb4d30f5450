"""ImageNet-1K as the CycleMLP release trains: as VAN, with repeated augmentation, a slower average
of the weights and a higher last learning rate."""

_base_ = './classifier_imagenet.py'

train_dataloader = dict(sampler=dict(type='RepeatAugSampler'))
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(eta_min=1e-5)
custom_hooks = [dict(type='EMAHook', momentum=4e-5, priority='ABOVE_NORMAL')]
