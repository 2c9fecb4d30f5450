"""Swin-T on ImageNet-1K: 300 epochs of 8 GPUs x 128 pictures, from random weights.

A baseline under the recipe of VAN.

    bash tools/dist_train.sh configs/classifier_swin_t_imagenet.py 8
"""
_base_ = ['./_base_/classifier_imagenet.py', './_base_/backbones/swin_t.py']

model = dict(
    backbone=dict(_base_.untrained, drop_path_rate=0.2),
    head=dict(in_channels=_base_.channels[3]))
