"""ResNet-50 on ImageNet-1K: 300 epochs of 8 GPUs x 128 pictures, from random weights.

A baseline under the recipe of VAN.

    bash tools/dist_train.sh configs/classifier_r50_imagenet.py 8
"""
_base_ = ['./_base_/classifier_imagenet.py', './_base_/backbones/r50.py']

model = dict(
    backbone=_base_.untrained,
    head=dict(in_channels=_base_.channels[3]))
