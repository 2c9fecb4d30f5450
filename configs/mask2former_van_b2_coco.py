"""Mask2Former with VAN-B2 on COCO panoptic, 50 epochs of 8 GPUs x 2 pictures.

PQ 54.9 (reported by the VAN paper, Table 14).

    bash tools/dist_train.sh configs/mask2former_van_b2_coco.py 8
"""
_base_ = ['./_base_/mask2former_coco.py', './_base_/backbones/van_b2.py']

model = dict(backbone=_base_.backbone, panoptic_head=dict(in_channels=_base_.channels))
