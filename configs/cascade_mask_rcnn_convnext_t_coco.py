"""Cascade Mask R-CNN with ConvNeXt-T on COCO, 3x: 36 epochs of 8 GPUs x 2 pictures.

Box AP 50.4 (reported by the VAN paper, Table 11). A baseline under the same recipe as the others.

    bash tools/dist_train.sh configs/cascade_mask_rcnn_convnext_t_coco.py 8
"""
_base_ = ['./_base_/cascade_mask_rcnn_coco.py', './_base_/backbones/convnext_t.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
