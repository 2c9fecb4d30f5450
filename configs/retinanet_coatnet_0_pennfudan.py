"""RetinaNet with CoAtNet-0 on PennFudanPed: 120 epochs of 4 pictures.

    python tools/train.py configs/retinanet_coatnet_0_pennfudan.py
"""
_base_ = ['./_base_/retinanet_pennfudan.py', './_base_/backbones/coatnet_0.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0),
    neck=dict(in_channels=_base_.channels[1:]))
