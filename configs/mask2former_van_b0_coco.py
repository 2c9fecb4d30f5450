"""Mask2Former with VAN-B0 on COCO panoptic, 50 epochs of 8 GPUs x 2 pictures.

The paper reports VAN-B2 and B6 alone.

    bash tools/dist_train.sh configs/mask2former_van_b0_coco.py 8
"""
_base_ = ['./_base_/mask2former_coco.py', './_base_/backbones/van_b0.py']

model = dict(backbone=_base_.backbone, panoptic_head=dict(in_channels=_base_.channels))
