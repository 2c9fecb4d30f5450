"""UPerNet with VAN-B0 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 41.1 at several scales and flipped (reported by the paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b0_ade20k.py 8
"""
_base_ = './upernet_van_b2_ade20k.py'

channels = [32, 64, 160, 256]
model = dict(
    backbone=dict(arch='b0', init_cfg=dict(checkpoint='van_b0_in1k')),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
