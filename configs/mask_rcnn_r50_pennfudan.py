"""Mask R-CNN with ResNet-50 on PennFudanPed: 120 epochs of 4 pictures.

A baseline under the same recipe.

    python tools/train.py configs/mask_rcnn_r50_pennfudan.py
"""
_base_ = ['./_base_/mask_rcnn_pennfudan.py', './_base_/backbones/r50.py']

model = dict(
    backbone=_base_.untrained,
    neck=dict(in_channels=_base_.channels))
