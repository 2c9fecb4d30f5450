"""UPerNet with VAN-B4 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

mIoU 52.2 at several scales and flipped; 53.5 with ImageNet-22K (reported by the paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b4_ade20k.py 8
"""
_base_ = './upernet_van_b2_ade20k.py'

model = dict(backbone=dict(arch='b4', drop_path_rate=0.4, init_cfg=dict(checkpoint='van_b4_in1k')))
