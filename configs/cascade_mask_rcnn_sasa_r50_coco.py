"""Cascade Mask R-CNN with SASA-R50 on COCO, 3x: 36 epochs of 8 GPUs x 2 pictures.

The paper does not train it, and no weights were released: no score to compare with.

    bash tools/dist_train.sh configs/cascade_mask_rcnn_sasa_r50_coco.py 8
"""
_base_ = ['./_base_/cascade_mask_rcnn_coco.py', './_base_/backbones/sasa_r50.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
