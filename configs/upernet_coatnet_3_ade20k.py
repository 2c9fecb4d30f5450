"""UPerNet with CoAtNet-3 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/upernet_coatnet_3_ade20k.py 8
"""
_base_ = ['./_base_/upernet_ade20k.py', './_base_/backbones/coatnet_3.py']

model = dict(
    backbone=_base_.backbone,
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
