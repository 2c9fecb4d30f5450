"""UPerNet with VAN-B5 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 53.9 with ImageNet-22K at several scales and flipped (reported by the VAN paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b5_ade20k.py 8
"""
_base_ = ['./_base_/upernet_ade20k.py', './_base_/backbones/van_b5.py']

model = dict(
    backbone=dict(_base_.backbone, **_base_.van, drop_path_rate=0.4),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
