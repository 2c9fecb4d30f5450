"""Mask R-CNN with ResNet-50 on COCO, 3x at many scales: 36 epochs of 8 GPUs x 2 pictures.

A baseline under the same recipe.

    bash tools/dist_train.sh configs/mask_rcnn_3x_r50_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_3x_coco.py', './_base_/backbones/r50.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.frozen),
    neck=dict(in_channels=_base_.channels))
