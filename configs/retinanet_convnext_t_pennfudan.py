"""RetinaNet with ConvNeXt-T on PennFudanPed: 120 epochs of 4 pictures.

A baseline under the same recipe.

    python tools/train.py configs/retinanet_convnext_t_pennfudan.py
"""
_base_ = ['./_base_/retinanet_pennfudan.py', './_base_/backbones/convnext_t.py']

model = dict(
    backbone=dict(_base_.untrained, gap_before_final_norm=False),
    neck=dict(in_channels=_base_.channels[1:]))
