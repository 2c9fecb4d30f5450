"""Semantic FPN with CoAtNet-0 on CamVid: 12k iterations of 8 pictures.

    python tools/train.py configs/fpn_coatnet_0_camvid.py
"""
_base_ = ['./_base_/fpn_camvid.py', './_base_/backbones/coatnet_0.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0),
    neck=dict(in_channels=_base_.channels))
