"""Cascade Mask R-CNN with CoAtNet-2 on COCO, 3x: 36 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/cascade_mask_rcnn_coatnet_2_coco.py 8
"""
_base_ = ['./_base_/cascade_mask_rcnn_coco.py', './_base_/backbones/coatnet_2.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
