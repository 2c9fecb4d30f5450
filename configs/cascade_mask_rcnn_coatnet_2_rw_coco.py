"""Cascade Mask R-CNN with timm's CoAtNet-2 on COCO, 3x: 36 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only. timm's weights take pixels from -1 to 1.

    bash tools/dist_train.sh configs/cascade_mask_rcnn_coatnet_2_rw_coco.py 8
"""
_base_ = ['./_base_/cascade_mask_rcnn_coco.py', './_base_/backbones/coatnet_2_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    neck=dict(in_channels=_base_.channels))
