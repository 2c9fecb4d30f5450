"""SASA-R26 on Imagenette: 20 epochs of 64 pictures, from random weights.

    python tools/train.py configs/classifier_sasa_r26_imagenette.py
"""
_base_ = ['./_base_/classifier_imagenette.py', './_base_/backbones/sasa_r26.py']

model = dict(
    backbone=_base_.backbone,
    head=dict(in_channels=_base_.channels[3]))
