"""ResNet-50 on Imagenette: 20 epochs of 64 pictures, from random weights.

A baseline under the same recipe.

    python tools/train.py configs/classifier_r50_imagenette.py
"""
_base_ = ['./_base_/classifier_imagenette.py', './_base_/backbones/r50.py']

model = dict(
    backbone=_base_.untrained,
    head=dict(in_channels=_base_.channels[3]))
