"""Mask R-CNN with CycleMLP-B4 on COCO, 3x at many scales: 36 epochs of 8 GPUs x 2 pictures.

No score to compare with: the dense figures of its paper could not be found.

    bash tools/dist_train.sh configs/mask_rcnn_3x_cyclemlp_b4_coco.py 8
"""
_base_ = ['./_base_/mask_rcnn_3x_coco.py', './_base_/backbones/cyclemlp_b4.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
