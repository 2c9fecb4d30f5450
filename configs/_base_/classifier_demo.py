"""Classification of the embedded things: the ImageNet recipe at a size for two CPU cores.

They lie on disk as ImageNet does, so that only the classes, the size, the length and the
augmentation differ: mixed pictures and averaged weights need more than minutes.
"""

_base_ = './classifier_imagenet.py'

data_root = 'data/demo_imagenet'
classes = ['starfish', 'analog clock', 'bow tie', 'coffee mug', 'dumbbell', 'hourglass',
           'sunglasses', 'umbrella', 'traffic light', 'mushroom']
max_iters = 1300
size = 64

# The map before the last: at this size the last one has 2 x 2 positions.
model = dict(backbone=dict(out_indices=(2,)), train_cfg=None)

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=size, crop_ratio_range=(0.6, 1.0))
del train_pipeline[3:5]  # RandAugment and random erasing
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=size * 9 // 8)
test_pipeline[2].update(crop_size=size)

train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(val_interval=150)  # of 300, whatever the length
custom_hooks = []
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=150))
