"""ConvNeXt-T on Imagenette: 20 epochs of 64 pictures, from random weights.

A baseline under the same recipe.

    python tools/train.py configs/classifier_convnext_t_imagenette.py
"""
_base_ = ['./_base_/classifier_imagenette.py', './_base_/backbones/convnext_t.py']

model = dict(
    backbone=_base_.untrained,
    neck=None,  # the backbone averages the map before its last norm
    head=dict(in_channels=_base_.channels[3]))
