"""RetinaNet with SASA-R50, attention in neck and heads too, on COCO: 150 epochs of 8 GPUs x 8.

Box AP 36.6 (reported by the paper, Table 2, with ImageNet weights that were not released). 22.6 M
parameters; the paper has 22.0 M (how it makes its coarser levels is not written).

    bash tools/dist_train.sh configs/retinanet_sasa_r50_attention_coco.py 8
"""
_base_ = ['./_base_/retinanet_attention_coco.py', './_base_/backbones/sasa_r50.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
