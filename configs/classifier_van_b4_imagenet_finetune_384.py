"""VAN-B4 from ImageNet-22K to 1K at 384 x 384: 30 epochs of 32 GPUs x 16 pictures.

Top-1 86.6 (reported by the paper).

    GPUS=32 bash tools/slurm_train.sh PARTITION JOB_NAME configs/classifier_van_b4_imagenet_finetune_384.py
"""
_base_ = ['./_base_/classifier_imagenet_finetune_384.py', './_base_/backbones/van_b4.py']

weights = dict(type='mmvisattn.CheckedPretrained', checkpoint='van_b4_in22k')
model = dict(
    backbone=dict(_base_.backbone, init_cfg=weights),
    head=dict(in_channels=_base_.channels[3]))
