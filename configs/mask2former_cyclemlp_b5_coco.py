"""Mask2Former with CycleMLP-B5 on COCO panoptic, 50 epochs of 8 GPUs x 2 pictures.

No score to compare with: the dense figures of its paper could not be found.

    bash tools/dist_train.sh configs/mask2former_cyclemlp_b5_coco.py 8
"""
_base_ = ['./_base_/mask2former_coco.py', './_base_/backbones/cyclemlp_b5.py']

model = dict(backbone=_base_.backbone, panoptic_head=dict(in_channels=_base_.channels))
