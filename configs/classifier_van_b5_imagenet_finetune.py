"""VAN-B5 from ImageNet-22K to 1K at 224 x 224: 30 epochs of 16 GPUs x 32 pictures.

Top-1 86.3 (reported by the paper).

    GPUS=16 bash tools/slurm_train.sh PARTITION JOB_NAME configs/classifier_van_b5_imagenet_finetune.py
"""
_base_ = ['./_base_/classifier_imagenet_finetune.py', './_base_/backbones/van_b5.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
