"""Semantic FPN with Swin-T on CamVid: 12k iterations of 8 pictures.

A baseline under the same recipe, with the windows of its start on Imagenette.

    python tools/train.py configs/fpn_swin_t_camvid.py
"""
_base_ = ['./_base_/fpn_camvid.py', './_base_/backbones/swin_t.py']

model = dict(
    backbone=dict(_base_.untrained, drop_path_rate=0.0, window_size=4, pad_small_map=True),
    neck=dict(in_channels=_base_.channels))
