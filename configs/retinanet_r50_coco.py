"""RetinaNet with ResNet-50 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 36.3 (reported by the VAN paper, Table 9). A baseline under the same recipe as the others.

    bash tools/dist_train.sh configs/retinanet_r50_coco.py 8
"""
_base_ = ['./_base_/retinanet_coco.py', './_base_/backbones/r50.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.frozen),
    neck=dict(in_channels=_base_.channels[1:]))
