"""Mask R-CNN with VAN-B2 on COCO, 3x at many scales: 36 epochs of 8 GPUs x 2 pictures.

Box AP 48.8 (reported by the VAN paper, Table 11).

    bash tools/dist_train.sh configs/mask_rcnn_3x_van_b2_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_3x_coco.py', './_base_/backbones/van_b2.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
