"""Mask2Former with timm's CoAtNet-1 on COCO panoptic, 50 epochs of 8 GPUs x 2 pictures.

Nobody has published a score: the paper classifies only. timm's weights take pixels from -1 to 1.

    bash tools/dist_train.sh configs/mask2former_coatnet_1_rw_coco.py 8
"""
_base_ = ['./_base_/mask2former_coco.py', './_base_/backbones/coatnet_1_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    panoptic_head=dict(in_channels=_base_.channels))
