"""UPerNet with SASA-R26 on the embedded street scenes: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_ade20k
    python tools/train.py configs/upernet_sasa_r26_demo.py
"""
_base_ = './_base_/upernet_demo.py'

channels = [256, 512, 1024, 2048]
model = dict(
    backbone=dict(type='mmvisattn.SASAResNet', arch='r26', out_norm=True),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
