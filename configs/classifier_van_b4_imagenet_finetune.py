"""VAN-B4 from ImageNet-22K to 1K at 224 x 224: 30 epochs of 16 GPUs x 32 pictures.

Top-1 85.7 (reported by the paper).

    GPUS=16 bash tools/slurm_train.sh PARTITION JOB_NAME configs/classifier_van_b4_imagenet_finetune.py
"""
_base_ = ['./_base_/classifier_imagenet_finetune.py', './_base_/backbones/van_b4.py']

weights = dict(type='mmvisattn.CheckedPretrained', checkpoint='van_b4_in22k')
model = dict(
    backbone=dict(_base_.backbone, init_cfg=weights),
    head=dict(in_channels=_base_.channels[3]))
