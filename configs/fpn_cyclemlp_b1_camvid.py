"""Semantic FPN with CycleMLP-B1 on CamVid: 12k iterations of 8 pictures.

    python tools/train.py configs/fpn_cyclemlp_b1_camvid.py
"""
_base_ = ['./_base_/fpn_camvid.py', './_base_/backbones/cyclemlp_b1.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0, init_cfg=None),
    neck=dict(in_channels=_base_.channels))
