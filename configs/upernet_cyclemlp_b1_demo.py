"""UPerNet with CycleMLP-B1 on the embedded street scenes: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_ade20k
    python tools/train.py configs/upernet_cyclemlp_b1_demo.py
"""
_base_ = './_base_/upernet_demo.py'

channels = [64, 128, 320, 512]
model = dict(
    backbone=dict(type='mmvisattn.CycleMLP', arch='b1'),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
