"""Panoptic FPN with SASA-R50 on COCO panoptic, 1x: 12 epochs of 8 GPUs x 2 pictures.

The paper does not train it, and no weights were released: no score to compare with.

    bash tools/dist_train.sh configs/panoptic_fpn_sasa_r50_coco.py 8
"""
_base_ = ['./_base_/panoptic_fpn_coco.py', './_base_/backbones/sasa_r50.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
