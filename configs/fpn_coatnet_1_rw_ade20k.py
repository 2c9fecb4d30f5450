"""Semantic FPN with timm's CoAtNet-1 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

Nobody has published a score: the paper classifies only. timm's weights take pixels from -1 to 1.

    bash tools/dist_train.sh configs/fpn_coatnet_1_rw_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/coatnet_1_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    neck=dict(in_channels=_base_.channels))
