"""Semantic FPN with VAN-B2 on CamVid: 12k iterations of 8 pictures.

    python tools/train.py configs/fpn_van_b2_camvid.py
"""
_base_ = ['./_base_/fpn_camvid.py', './_base_/backbones/van_b2.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0, init_cfg=None),
    neck=dict(in_channels=_base_.channels))
