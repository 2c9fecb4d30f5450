"""UPerNet with Swin-T, a baseline, on the embedded street scenes: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_ade20k
    python tools/train.py configs/upernet_swin_t_demo.py
"""
_base_ = ['./_base_/upernet_demo.py', './_base_/backbones/swin_t.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0, init_cfg=None),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
