"""UPerNet with VAN-B5 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 53.9 with ImageNet-22K at several scales and flipped (reported by the paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b5_ade20k.py 8
"""
_base_ = './upernet_van_b2_ade20k.py'

channels = [96, 192, 480, 768]
model = dict(
    backbone=dict(arch='b5', drop_path_rate=0.4, init_cfg=dict(checkpoint='van_b5_in22k')),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
