"""UPerNet with CycleMLP-B2 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.
The paper's scores for dense prediction could not be found; its drop path neither: 0.1 is ours.

    bash tools/dist_train.sh configs/upernet_cyclemlp_b2_ade20k.py 8
"""
_base_ = './_base_/upernet_ade20k.py'

channels = [64, 128, 320, 512]
model = dict(
    backbone=dict(type='mmvisattn.CycleMLP', arch='b2', drop_path_rate=0.1, init_cfg=dict(
        type='mmvisattn.CheckedPretrained', checkpoint='cyclemlp_b2_in1k')),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
