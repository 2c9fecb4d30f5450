"""Mask R-CNN with timm's CoAtNet-1 on COCO, 3x at many scales: 36 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only. timm's weights take pixels from -1 to 1.

    bash tools/dist_train.sh configs/mask_rcnn_3x_coatnet_1_rw_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_3x_coco.py', './_base_/backbones/coatnet_1_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    neck=dict(in_channels=_base_.channels))
