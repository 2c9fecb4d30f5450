"""VAN-B6 from ImageNet-22K to 1K at 384 x 384: 30 epochs of 32 GPUs x 16 pictures.

Top-1 87.8 (reported by the paper).

    GPUS=32 bash tools/slurm_train.sh PARTITION JOB_NAME configs/classifier_van_b6_imagenet_finetune_384.py
"""
_base_ = ['./_base_/classifier_imagenet_finetune_384.py', './_base_/backbones/van_b6.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
