"""GFL with SASA-R26 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

The paper does not train it, and no weights were released: no score to compare with.

    bash tools/dist_train.sh configs/gfl_sasa_r26_coco.py 8
"""
_base_ = ['./_base_/gfl_coco.py', './_base_/backbones/sasa_r26.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
