"""UPerNet with CoAtNet-0 on the embedded street scenes: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_ade20k
    python tools/train.py configs/upernet_coatnet_0_demo.py
"""
_base_ = './_base_/upernet_demo.py'

channels = [96, 192, 384, 768]
model = dict(
    backbone=dict(type='mmvisattn.CoAtNet', arch='0', out_norm=True),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
