"""Mask2Former with ResNet-50 on COCO panoptic, 50 epochs of 8 GPUs x 2 pictures.

A baseline under the same recipe.

    bash tools/dist_train.sh configs/mask2former_r50_coco.py 8
"""
_base_ = ['./_base_/mask2former_coco.py', './_base_/backbones/r50.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.frozen),
    panoptic_head=dict(in_channels=_base_.channels))
