"""Panoptic FPN with CoAtNet-1 on COCO panoptic, 1x: 12 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/panoptic_fpn_coatnet_1_coco.py 8
"""
_base_ = ['./_base_/panoptic_fpn_coco.py', './_base_/backbones/coatnet_1.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
