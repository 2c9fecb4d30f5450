"""UPerNet with VAN-B0 on the embedded street scenes: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_ade20k
    python tools/train.py configs/upernet_van_b0_demo.py
"""
_base_ = './_base_/upernet_demo.py'

channels = [32, 64, 160, 256]
model = dict(
    backbone=dict(type='mmvisattn.VAN', arch='b0'),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
