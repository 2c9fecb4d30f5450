"""UPerNet with SASA-R50 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

The paper does not segment, and no weights were released: there is no score to compare with.

    bash tools/dist_train.sh configs/upernet_sasa_r50_ade20k.py 8
"""
_base_ = './_base_/upernet_ade20k.py'

channels = [256, 512, 1024, 2048]
model = dict(
    backbone=dict(type='mmvisattn.SASAResNet', arch='r50', out_norm=True),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
