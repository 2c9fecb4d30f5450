"""Simple Baseline with VAN-B0 on the embedded people: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_pose --layout pose
    python tools/train.py configs/simple_baseline_van_b0_demo.py
"""
_base_ = ['./_base_/simple_baseline_demo.py', './_base_/backbones/van_b0.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0, init_cfg=None),
    head=dict(in_channels=_base_.channels[2]))
