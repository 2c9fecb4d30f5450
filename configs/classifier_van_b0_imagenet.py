"""VAN-B0 on ImageNet-1K: 300 epochs of 8 GPUs x 128 pictures, from random weights.

Top-1 75.4 (reported by the paper).

    bash tools/dist_train.sh configs/classifier_van_b0_imagenet.py 8
"""
_base_ = ['./_base_/classifier_imagenet.py', './_base_/backbones/van_b0.py']

model = dict(
    backbone=dict(_base_.backbone, init_cfg=None),
    head=dict(in_channels=_base_.channels[3]))
