"""UPerNet with CycleMLP-B5 on ADE20K: 160k iterations of 8 GPUs x 2 pictures.

No score to compare with: the dense figures of its paper could not be found.

    bash tools/dist_train.sh configs/upernet_cyclemlp_b5_ade20k.py 8
"""
_base_ = ['./_base_/upernet_ade20k.py', './_base_/backbones/cyclemlp_b5.py']

model = dict(
    backbone=_base_.backbone,
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]))
