"""timm's CoAtNet-3 from ImageNet-12K to 1K at 224 x 224: 30 epochs of 16 GPUs x 32 pictures.

Nobody has published a score. timm's weights take pixels from -1 to 1.

    GPUS=16 bash tools/slurm_train.sh PARTITION JOB_NAME configs/classifier_coatnet_3_rw_imagenet_finetune.py
"""
_base_ = ['./_base_/classifier_imagenet_finetune.py', './_base_/backbones/coatnet_3_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    head=dict(in_channels=_base_.channels[3]))
