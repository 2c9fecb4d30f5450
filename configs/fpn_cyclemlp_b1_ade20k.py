"""Semantic FPN with CycleMLP-B1 on ADE20K: 40k iterations of 8 GPUs x 4 pictures.

No score to compare with: the dense figures of its paper could not be found.

    bash tools/dist_train.sh configs/fpn_cyclemlp_b1_ade20k.py 8
"""
_base_ = ['./_base_/fpn_ade20k.py', './_base_/backbones/cyclemlp_b1.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels))
