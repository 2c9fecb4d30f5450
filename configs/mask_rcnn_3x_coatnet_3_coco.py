"""Mask R-CNN with CoAtNet-3 on COCO, 3x at many scales: 36 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/mask_rcnn_3x_coatnet_3_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_3x_coco.py', './_base_/backbones/coatnet_3.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
