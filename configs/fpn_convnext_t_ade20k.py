"""Semantic FPN with ConvNeXt-T on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

A baseline under the same recipe.

    bash tools/dist_train.sh configs/fpn_convnext_t_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/convnext_t.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
