"""GFL with VAN-B1 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

The paper reports VAN-B2 alone, after 3x.

    bash tools/dist_train.sh configs/gfl_van_b1_coco.py 8
"""
_base_ = ['./_base_/gfl_coco.py', './_base_/backbones/van_b1.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
