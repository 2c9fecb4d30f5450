"""UPerNet with Swin-T on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 46.1 at several scales and flipped (reported by the VAN paper, Table 12). A baseline under the
same recipe as the others.

    bash tools/dist_train.sh configs/upernet_swin_t_ade20k.py 8
"""
_base_ = ['./_base_/upernet_ade20k.py', './_base_/backbones/swin_t.py']

model = dict(
    backbone=_base_.backbone,
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
