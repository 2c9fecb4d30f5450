"""Panoptic FPN with ResNet-50 on COCO panoptic, 1x: 12 epochs of 8 GPUs x 2 pictures.

A baseline under the same recipe.

    bash tools/dist_train.sh configs/panoptic_fpn_r50_coco.py 8
"""
_base_ = ['./_base_/panoptic_fpn_coco.py', './_base_/backbones/r50.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.frozen),
    neck=dict(in_channels=_base_.channels))
