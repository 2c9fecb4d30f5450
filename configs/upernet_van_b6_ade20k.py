"""UPerNet with VAN-B6 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 54.7 with ImageNet-22K at several scales and flipped (reported by the paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b6_ade20k.py 8
"""
_base_ = './upernet_van_b2_ade20k.py'

channels = [96, 192, 384, 768]
model = dict(
    backbone=dict(arch='b6', drop_path_rate=0.5, init_cfg=dict(checkpoint='van_b6_in22k')),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
