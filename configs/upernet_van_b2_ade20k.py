"""UPerNet with VAN-B2 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 50.1 at several scales and flipped (reported by the VAN paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b2_ade20k.py 8
"""
_base_ = ['./_base_/upernet_ade20k.py', './_base_/backbones/van_b2.py']

model = dict(
    backbone=dict(
        _base_.backbone, drop_path_rate=0.1, norm_cfg=_base_.norm_cfg, out_norm_eps=1e-5),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
