"""Panoptic FPN with timm's CoAtNet-2 on COCO panoptic, 1x: 12 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only. timm's weights take pixels from -1 to 1.

    bash tools/dist_train.sh configs/panoptic_fpn_coatnet_2_rw_coco.py 8
"""
_base_ = ['./_base_/panoptic_fpn_coco.py', './_base_/backbones/coatnet_2_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    neck=dict(in_channels=_base_.channels))
