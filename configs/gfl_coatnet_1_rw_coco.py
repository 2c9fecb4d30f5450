"""GFL with timm's CoAtNet-1 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only. timm's weights take pixels from -1 to 1.

    bash tools/dist_train.sh configs/gfl_coatnet_1_rw_coco.py 8
"""
_base_ = ['./_base_/gfl_coco.py', './_base_/backbones/coatnet_1_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    neck=dict(in_channels=_base_.channels[1:]))
