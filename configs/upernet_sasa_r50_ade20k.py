"""UPerNet with SASA-R50 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

The paper does not train it, and no weights were released: no score to compare with.

    bash tools/dist_train.sh configs/upernet_sasa_r50_ade20k.py 8
"""
_base_ = ['./_base_/upernet_ade20k.py', './_base_/backbones/sasa_r50.py']

model = dict(
    backbone=_base_.backbone,
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
