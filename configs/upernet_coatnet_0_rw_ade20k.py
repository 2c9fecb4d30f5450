"""UPerNet with timm's CoAtNet-0 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only. timm's weights take pictures from -1 to 1.

    bash tools/dist_train.sh configs/upernet_coatnet_0_rw_ade20k.py 8
"""
_base_ = './upernet_coatnet_0_ade20k.py'

weights = 'coatnet_0_rw_224.sw_in1k'
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(arch='coatnet_0_rw_224',
                  init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint=weights)))
