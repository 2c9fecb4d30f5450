"""Mask R-CNN on the embedded traffic scenes: the COCO recipe at a size for two CPU cores."""

_base_ = ['./mask_rcnn_coco.py', './coco_demo.py']

demo = _base_.demo
data_root = demo.data_root
classes = demo.things
max_iters = demo.max_iters

model = demo.mask_rcnn

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
