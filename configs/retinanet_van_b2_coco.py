"""RetinaNet with VAN-B2 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 44.9 (reported by the VAN paper, Table 9).

    bash tools/dist_train.sh configs/retinanet_van_b2_coco.py 8
"""
_base_ = ['./_base_/retinanet_coco.py', './_base_/backbones/van_b2.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
