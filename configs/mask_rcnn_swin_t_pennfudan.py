"""Mask R-CNN with Swin-T on PennFudanPed: 120 epochs of 4 pictures.

A baseline under the same recipe, with the windows of its start on Imagenette.

    python tools/train.py configs/mask_rcnn_swin_t_pennfudan.py
"""
_base_ = ['./_base_/mask_rcnn_pennfudan.py', './_base_/backbones/swin_t.py']

model = dict(
    backbone=dict(_base_.untrained, drop_path_rate=0.0, window_size=4, pad_small_map=True),
    neck=dict(in_channels=_base_.channels))
