"""SASA-R26 on ImageNet-1K: 130 epochs of 32 GPUs x 128 pictures, from random weights.

Top-1 74.8 (reported by the paper).

    GPUS=32 bash tools/slurm_train.sh PARTITION JOB_NAME configs/classifier_sasa_r26_imagenet.py
"""
_base_ = ['./_base_/classifier_sasa_imagenet.py', './_base_/backbones/sasa_r26.py']

model = dict(
    backbone=dict(_base_.backbone, init_cfg=None),
    head=dict(in_channels=_base_.channels[3]))
