"""UPerNet with ResNet-50, a baseline, on the embedded street scenes: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_ade20k
    python tools/train.py configs/upernet_r50_demo.py
"""
_base_ = ['./_base_/upernet_demo.py', './_base_/backbones/r50.py']

model = dict(
    backbone=dict(_base_.backbone, init_cfg=None),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
