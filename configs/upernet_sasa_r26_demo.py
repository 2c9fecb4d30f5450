"""UPerNet with SASA-R26 on the embedded street scenes: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_ade20k
    python tools/train.py configs/upernet_sasa_r26_demo.py
"""
_base_ = ['./_base_/upernet_demo.py', './_base_/backbones/sasa_r26.py']

model = dict(
    backbone=dict(_base_.backbone, init_cfg=None),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
