"""Mask2Former with ConvNeXt-T on COCO panoptic, 50 epochs of 8 GPUs x 2 pictures.

A baseline under the same recipe.

    bash tools/dist_train.sh configs/mask2former_convnext_t_coco.py 8
"""
_base_ = ['./_base_/mask2former_coco.py', './_base_/backbones/convnext_t.py']

model = dict(backbone=_base_.backbone, panoptic_head=dict(in_channels=_base_.channels))
