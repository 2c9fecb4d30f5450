"""Mask R-CNN with Swin-T on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

A baseline under the same recipe.

    bash tools/dist_train.sh configs/mask_rcnn_swin_t_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/backbones/swin_t.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
