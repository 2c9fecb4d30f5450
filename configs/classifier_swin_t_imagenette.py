"""Swin-T on Imagenette: 20 epochs of 64 pictures, from random weights.

A baseline under the same recipe, with windows of 4 x 4: its last map has no more positions.

    python tools/train.py configs/classifier_swin_t_imagenette.py
"""
_base_ = ['./_base_/classifier_imagenette.py', './_base_/backbones/swin_t.py']

model = dict(
    backbone=dict(_base_.untrained, drop_path_rate=0.0, window_size=4),
    head=dict(in_channels=_base_.channels[3]))
