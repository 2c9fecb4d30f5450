"""Mask R-CNN with VAN-B3 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 48.3, mask AP 43.4 (reported by the VAN paper, Table 10).

    bash tools/dist_train.sh configs/mask_rcnn_van_b3_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/backbones/van_b3.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
