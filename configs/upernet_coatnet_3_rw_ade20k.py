"""UPerNet with timm's CoAtNet-3 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only. timm's weights take pixels from -1 to 1.

    bash tools/dist_train.sh configs/upernet_coatnet_3_rw_ade20k.py 8
"""
_base_ = ['./_base_/upernet_ade20k.py', './_base_/backbones/coatnet_3_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
