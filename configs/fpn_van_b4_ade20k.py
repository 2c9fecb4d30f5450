"""Semantic FPN with VAN-B4 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

The release has its config, but no score.

    bash tools/dist_train.sh configs/fpn_van_b4_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/van_b4.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.van, drop_path_rate=0.4),
    neck=dict(in_channels=_base_.channels))
