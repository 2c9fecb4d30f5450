"""Mask R-CNN with VAN-B0 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 40.2, mask AP 37.6 (reported by the VAN paper, Table 10).

    bash tools/dist_train.sh configs/mask_rcnn_van_b0_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/backbones/van_b0.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
