"""Mask R-CNN with VAN-B1 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 42.6, mask AP 38.9 (reported by the VAN paper, Table 10).

    bash tools/dist_train.sh configs/mask_rcnn_van_b1_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/backbones/van_b1.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
