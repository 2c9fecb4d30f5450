"""Semantic FPN with ResNet-50 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

mIoU 36.7 (reported by the VAN paper, Table 12). A baseline under the same recipe as the others.

    bash tools/dist_train.sh configs/fpn_r50_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/r50.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
