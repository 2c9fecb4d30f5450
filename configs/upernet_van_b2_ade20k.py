"""UPerNet with VAN-B2 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 50.1 at several scales and flipped (reported by the VAN paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b2_ade20k.py 8
"""
_base_ = ['./_base_/upernet_ade20k.py', './_base_/backbones/van_b2.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.van),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
