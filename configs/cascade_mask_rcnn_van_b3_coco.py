"""Cascade Mask R-CNN with VAN-B3 on COCO, 3x: 36 epochs of 8 GPUs x 2 pictures.

The paper reports VAN-B2 alone.

    bash tools/dist_train.sh configs/cascade_mask_rcnn_van_b3_coco.py 8
"""
_base_ = ['./_base_/cascade_mask_rcnn_coco.py', './_base_/backbones/van_b3.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
