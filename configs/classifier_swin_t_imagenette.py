"""Swin-T on Imagenette: 20 epochs of 64 pictures, from random weights.

A baseline under the same recipe.

    python tools/train.py configs/classifier_swin_t_imagenette.py
"""
_base_ = ['./_base_/classifier_imagenette.py', './_base_/backbones/swin_t.py']

model = dict(
    backbone=dict(
        type='mmpretrain.SwinTransformer', arch='tiny', drop_path_rate=0.0, pad_small_map=True),
    head=dict(in_channels=_base_.channels[3]))
