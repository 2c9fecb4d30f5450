"""Semantic FPN with ResNet-50 on CamVid: 12k iterations of 8 pictures.

A baseline under the same recipe.

    python tools/train.py configs/fpn_r50_camvid.py
"""
_base_ = ['./_base_/fpn_camvid.py', './_base_/backbones/r50.py']

model = dict(
    backbone=_base_.untrained,
    neck=dict(in_channels=_base_.channels))
