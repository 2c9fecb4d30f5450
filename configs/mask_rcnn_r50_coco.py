"""Mask R-CNN with ResNet-50 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 38.0, mask AP 34.4 (reported by the VAN paper, Table 10). A baseline under the same recipe as
the others.

    bash tools/dist_train.sh configs/mask_rcnn_r50_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/backbones/r50.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.frozen),
    neck=dict(in_channels=_base_.channels))
