"""CoAtNet-3 on ImageNet-1K: 300 epochs of 32 GPUs x 128 pictures, from random weights.

Top-1 84.5 (reported by the paper).

    GPUS=32 bash tools/slurm_train.sh PARTITION JOB_NAME configs/classifier_coatnet_3_imagenet.py
"""
_base_ = ['./_base_/classifier_coatnet_imagenet.py', './_base_/backbones/coatnet_3.py']

model = dict(
    backbone=dict(_base_.backbone, init_cfg=None),
    head=dict(in_channels=_base_.channels[3]))
