"""GFL with ResNet-50 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Nobody has published a 1x score; after 3x at many scales box AP is 44.5 (reported by the VAN paper,
Table 11). A baseline under the same recipe as the others.

    bash tools/dist_train.sh configs/gfl_r50_coco.py 8
"""
_base_ = ['./_base_/gfl_coco.py', './_base_/backbones/r50.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.frozen),
    neck=dict(in_channels=_base_.channels[1:]))
