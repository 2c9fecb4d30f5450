"""Panoptic FPN with VAN-B1 on COCO panoptic, 1x: 12 epochs of 8 GPUs x 2 pictures.

The paper does not train it.

    bash tools/dist_train.sh configs/panoptic_fpn_van_b1_coco.py 8
"""
_base_ = ['./_base_/panoptic_fpn_coco.py', './_base_/backbones/van_b1.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
