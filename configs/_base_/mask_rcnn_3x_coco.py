"""Mask R-CNN on COCO, 3x at many scales. The backbone and its channels are left to each config."""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './coco_instance_3x.py']

model = dict(backbone=dict(_delete_=True, out_indices=(0, 1, 2, 3)))
