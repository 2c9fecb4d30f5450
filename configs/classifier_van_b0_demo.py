"""VAN-B0 on the embedded things of ten ImageNet classes: minutes on two CPU cores.

    python tools/make_demo_data.py data/demo_imagenet --layout imagenet
    python tools/train.py configs/classifier_van_b0_demo.py
"""
_base_ = ['./_base_/classifier_demo.py', './_base_/backbones/van_b0.py']

model = dict(
    backbone=dict(_base_.backbone, drop_path_rate=0.0, init_cfg=None),
    head=dict(in_channels=_base_.channels[2]))
