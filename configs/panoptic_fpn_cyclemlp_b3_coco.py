"""Panoptic FPN with CycleMLP-B3 on COCO panoptic, 1x: 12 epochs of 8 GPUs x 2 pictures.

No score to compare with: the dense figures of its paper could not be found.

    bash tools/dist_train.sh configs/panoptic_fpn_cyclemlp_b3_coco.py 8
"""
_base_ = ['./_base_/panoptic_fpn_coco.py', './_base_/backbones/cyclemlp_b3.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
