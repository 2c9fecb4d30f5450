"""UPerNet with CoAtNet-0 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

The paper classifies only and released no weights: there is no score to compare with.

    bash tools/dist_train.sh configs/upernet_coatnet_0_ade20k.py 8
"""
_base_ = './_base_/upernet_ade20k.py'

channels = [96, 192, 384, 768]
model = dict(
    backbone=dict(type='mmvisattn.CoAtNet', arch='0', drop_path_rate=0.2, out_norm=True),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
