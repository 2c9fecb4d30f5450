"""Mask2Former with CoAtNet-2 on COCO panoptic, 50 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/mask2former_coatnet_2_coco.py 8
"""
_base_ = ['./_base_/mask2former_coco.py', './_base_/backbones/coatnet_2.py']

model = dict(backbone=_base_.backbone, panoptic_head=dict(in_channels=_base_.channels))
