"""Mask R-CNN with SASA-R38 on COCO, 3x at many scales: 36 epochs of 8 GPUs x 2 pictures.

The paper does not train it, and no weights were released: no score to compare with.

    bash tools/dist_train.sh configs/mask_rcnn_3x_sasa_r38_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_3x_coco.py', './_base_/backbones/sasa_r38.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
