"""Semantic FPN with CoAtNet-1 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/fpn_coatnet_1_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/coatnet_1.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
