"""RetinaNet on the embedded traffic scenes: the COCO recipe at a size for two CPU cores."""

_base_ = ['./retinanet_coco.py', './coco_demo.py']

demo = _base_.demo
data_root = demo.data_root
classes = demo.things
max_iters = demo.max_iters

width, norm_cfg = _base_.demo_width, _base_.demo_norm
strides = _base_.demo_strides[1:]
model = dict(
    neck=dict(out_channels=width, num_outs=len(strides), norm_cfg=norm_cfg),
    bbox_head=dict(
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        anchor_generator=dict(octave_base_scale=3, strides=strides)))

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=demo.scale)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=demo.scale)
train_dataloader = dict(**demo.train_loader, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(**demo.val_loader, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

auto_scale_lr = demo.auto_scale_lr
optim_wrapper = demo.optim_wrapper
train_cfg = demo.train_cfg
default_hooks = demo.hooks
