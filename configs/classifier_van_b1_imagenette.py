"""VAN-B1 on Imagenette: 20 epochs of 64 pictures, from random weights.

    python tools/train.py configs/classifier_van_b1_imagenette.py
"""
_base_ = ['./_base_/classifier_imagenette.py', './_base_/backbones/van_b1.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0, init_cfg=None),
    head=dict(in_channels=_base_.channels[3]))
