"""Semantic FPN with VAN-B3 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

mIoU 48.1 (reported by the VAN paper, Table 12).

    bash tools/dist_train.sh configs/fpn_van_b3_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/van_b3.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.van, drop_path_rate=0.3),
    neck=dict(in_channels=_base_.channels))
