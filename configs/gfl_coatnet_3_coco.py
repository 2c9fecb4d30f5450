"""GFL with CoAtNet-3 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/gfl_coatnet_3_coco.py 8
"""
_base_ = ['./_base_/gfl_coco.py', './_base_/backbones/coatnet_3.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
