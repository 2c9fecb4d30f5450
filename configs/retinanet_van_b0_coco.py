"""RetinaNet with VAN-B0 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 38.8 (reported by the VAN paper, Table 9).

    bash tools/dist_train.sh configs/retinanet_van_b0_coco.py 8
"""
_base_ = ['./_base_/retinanet_coco.py', './_base_/backbones/van_b0.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
