"""Semantic FPN with ConvNeXt-T on CamVid: 12k iterations of 8 pictures.

A baseline under the same recipe.

    python tools/train.py configs/fpn_convnext_t_camvid.py
"""
_base_ = ['./_base_/fpn_camvid.py', './_base_/backbones/convnext_t.py']

model = dict(
    backbone=dict(_base_.untrained, gap_before_final_norm=False),
    neck=dict(in_channels=_base_.channels))
