"""Mask R-CNN on PennFudanPed: the COCO recipe for one class and 120 pictures, 120 epochs of 4."""

_base_ = ['./mask_rcnn_coco.py', './coco_pennfudan.py']

penn = _base_.penn
data_root = penn.data_root
classes = penn.classes

model = dict(rpn_head=dict(anchor_generator=dict(ratios=penn.anchor_ratios)))

train_pipeline = _base_.train_pipeline
train_pipeline[2] = penn.resize
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=penn.scale)
train_dataloader = dict(
    **penn.train_loader, dataset=dict(**penn.train_set, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**penn.val_set, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = penn.evaluator
test_evaluator = val_evaluator

auto_scale_lr = penn.auto_scale_lr
optim_wrapper = penn.optim_wrapper
param_scheduler = penn.param_scheduler
train_cfg = penn.train_cfg
default_hooks = penn.hooks
