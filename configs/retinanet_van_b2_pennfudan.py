"""RetinaNet with VAN-B2 on PennFudanPed: 120 epochs of 4 pictures.

    python tools/train.py configs/retinanet_van_b2_pennfudan.py
"""
_base_ = ['./_base_/retinanet_pennfudan.py', './_base_/backbones/van_b2.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0, init_cfg=None),
    neck=dict(in_channels=_base_.channels[1:]))
