"""Mask R-CNN on COCO, 1x. The backbone and its channels are what each config fills in."""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './coco_instance.py']

model = dict(backbone=dict(_delete_=True, out_indices=(0, 1, 2, 3)))
