"""UPerNet with VAN-B3 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 50.6 at several scales and flipped (reported by the paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b3_ade20k.py 8
"""
_base_ = './upernet_van_b2_ade20k.py'

model = dict(backbone=dict(arch='b3', drop_path_rate=0.3, init_cfg=dict(checkpoint='van_b3_in1k')))
