"""RetinaNet with VAN-B0 on PennFudanPed: 120 epochs of 4 pictures.

    python tools/train.py configs/retinanet_van_b0_pennfudan.py
"""
_base_ = ['./_base_/retinanet_pennfudan.py', './_base_/backbones/van_b0.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0, init_cfg=None),
    neck=dict(in_channels=_base_.channels[1:]))
