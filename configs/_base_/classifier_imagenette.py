"""Imagenette at 128 x 128, 20 epochs of 64 pictures from random weights: one recipe for all networks.

Crops, flips and soft labels, at every length; no mixed pictures, no average of the weights, no choice
of a checkpoint: the last one counts. `max_epochs=5` and `80` are the other lengths of the data set's
leaderboard. Pictures are tested whole, at the size that they are trained at. The learning rate is that
of the ImageNet recipe, at a smaller batch, and gradients are clipped as Swin's are; at twice that rate,
without clipping, CycleMLP hardly learnt. Nothing else was tried.
"""

_base_ = './classifier_imagenet.py'

data_root = 'data/imagenette'
classes = ['tench', 'English springer', 'cassette player', 'chain saw', 'church', 'French horn',
           'garbage truck', 'gas pump', 'golf ball', 'parachute']
size = 128
epochs = 20

model = dict(train_cfg=None)

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=size, crop_ratio_range=(0.35, 1.0))
del train_pipeline[3:5]  # RandAugment and random erasing
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=size)
test_pipeline[2].update(crop_size=size)

train_dataloader = dict(
    batch_size=64, num_workers=4, persistent_workers=True, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=4, persistent_workers=True, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=2)
param_scheduler[1].update(begin=2, end=epochs, eta_min=0.0)
train_cfg = dict(max_epochs=epochs, val_interval=5)
custom_hooks = []
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None))
