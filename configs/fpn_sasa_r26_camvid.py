"""Semantic FPN with SASA-R26 on CamVid: 12k iterations of 8 pictures.

    python tools/train.py configs/fpn_sasa_r26_camvid.py
"""
_base_ = ['./_base_/fpn_camvid.py', './_base_/backbones/sasa_r26.py']

model = dict(
    backbone=_base_.backbone,
    neck=dict(in_channels=_base_.channels))
