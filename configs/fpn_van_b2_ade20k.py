"""Semantic FPN with VAN-B2 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

mIoU 46.7 (reported by the VAN paper, Table 12).

    bash tools/dist_train.sh configs/fpn_van_b2_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/van_b2.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.van, drop_path_rate=0.2),
    neck=dict(in_channels=_base_.channels))
