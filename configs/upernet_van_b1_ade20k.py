"""UPerNet with VAN-B1 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 44.9 at several scales and flipped (reported by the paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b1_ade20k.py 8
"""
_base_ = './upernet_van_b2_ade20k.py'

model = dict(backbone=dict(arch='b1', init_cfg=dict(checkpoint='van_b1_in1k')))
