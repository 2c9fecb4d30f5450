"""Cascade Mask R-CNN with VAN-B2 on COCO, 3x: 36 epochs of 8 GPUs x 2 pictures.

Box AP 52.0 (reported by the VAN paper, Table 11).

    bash tools/dist_train.sh configs/cascade_mask_rcnn_van_b2_coco.py 8
"""
_base_ = ['./_base_/cascade_mask_rcnn_coco.py', './_base_/backbones/van_b2.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
