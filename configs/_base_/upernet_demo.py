"""UPerNet on the embedded street scenes: the ADE20K recipe at a size for two CPU cores.

The scenes lie on disk as ADE20K does, so that only the class list, the size and the length differ.
From scratch: hence a higher learning rate than the one that fine-tunes ImageNet weights.
"""

_base_ = './upernet_ade20k.py'

data_root = 'data/demo_ade20k'
classes = ['building', 'sky', 'tree', 'road', 'grass', 'mountain', 'car']
crop_size = (128, 128)
scale = (160, 128)
max_iters = 400

model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(channels=64),
    auxiliary_head=dict(channels=32))

# The steps of the base at another size.
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=scale, ratio_range=(0.8, 1.5))
train_pipeline[3].update(crop_size=crop_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=scale)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(int(scale[0] * r), int(scale[1] * r)), keep_ratio=True)
    for r in (0.75, 1.0, 1.25)
]

auto_scale_lr = dict(base_batch_size=8)
train_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=100))
train_cfg = dict(val_interval=100)
