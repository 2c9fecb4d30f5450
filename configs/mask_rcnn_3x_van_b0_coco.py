"""Mask R-CNN with VAN-B0 on COCO, 3x at many scales: 36 epochs of 8 GPUs x 2 pictures.

The paper reports VAN-B2 alone.

    bash tools/dist_train.sh configs/mask_rcnn_3x_van_b0_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_3x_coco.py', './_base_/backbones/van_b0.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
