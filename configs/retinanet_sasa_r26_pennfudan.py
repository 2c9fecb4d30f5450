"""RetinaNet with SASA-R26 on PennFudanPed: 120 epochs of 4 pictures.

    python tools/train.py configs/retinanet_sasa_r26_pennfudan.py
"""
_base_ = ['./_base_/retinanet_pennfudan.py', './_base_/backbones/sasa_r26.py']

model = dict(
    backbone=_base_.backbone,
    neck=dict(in_channels=_base_.channels[1:]))
