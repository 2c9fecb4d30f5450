"""Semantic FPN with SASA-R38 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

The paper does not train it, and no weights were released: no score to compare with.

    bash tools/dist_train.sh configs/fpn_sasa_r38_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/sasa_r38.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
