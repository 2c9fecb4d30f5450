"""Simple Baseline on the embedded people: the COCO recipe at a size for two CPU cores.

They lie on disk as COCO's keypoints do, so that only the size, the length and the augmentation
differ. From scratch: hence a higher learning rate than the one that fine-tunes ImageNet weights,
and wider peaks, which are learnt sooner.
"""

_base_ = './simple_baseline_256x192_coco.py'

data_root = 'data/demo_pose'
max_iters = 1000
codec = dict(input_size=(96, 128), sigma=3)

# The map before the last is as large here as the last one of the COCO recipe, and so are the
# heatmaps that are made of it.
model = dict(
    backbone=dict(out_indices=(2,)),
    head=dict(deconv_out_channels=(64, 64, 32), decoder=codec))

# The steps of the base at another size, without half bodies and with less turning.
train_pipeline = _base_.train_pipeline
del train_pipeline[3]
train_pipeline[3].update(shift_factor=0.05, scale_factor=(0.9, 1.1), rotate_factor=20)
train_pipeline[4].update(input_size=codec['input_size'])
train_pipeline[5].encoder.update(codec)
test_pipeline = _base_.test_pipeline
test_pipeline[2].update(input_size=codec['input_size'])

train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(val_interval=105)  # of 210, whatever the length
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=105))
