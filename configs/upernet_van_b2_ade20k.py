"""UPerNet with VAN-B2 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.
mIoU 50.1 at several scales and flipped (reported by the paper, Table 12).

    bash tools/dist_train.sh configs/upernet_van_b2_ade20k.py 8
"""
_base_ = './_base_/upernet_ade20k.py'

channels = [64, 128, 320, 512]
model = dict(
    backbone=dict(type='mmvisattn.VAN', arch='b2', drop_path_rate=0.1, norm_cfg=_base_.norm_cfg,
                  out_norm_eps=1e-5,
                  init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='van_b2_in1k')),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]))
