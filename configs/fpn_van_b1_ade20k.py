"""Semantic FPN with VAN-B1 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

mIoU 42.9 (reported by the VAN paper, Table 12).

    bash tools/dist_train.sh configs/fpn_van_b1_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/van_b1.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.van, drop_path_rate=0.2),
    neck=dict(in_channels=_base_.channels))
