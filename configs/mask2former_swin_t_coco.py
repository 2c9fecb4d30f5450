"""Mask2Former with Swin-T on COCO panoptic, 50 epochs of 8 GPUs x 2 pictures.

PQ 53.2 (reported by the VAN paper, Table 14). A baseline under the same recipe as the others.

    bash tools/dist_train.sh configs/mask2former_swin_t_coco.py 8
"""
_base_ = ['./_base_/mask2former_coco.py', './_base_/backbones/swin_t.py']

model = dict(backbone=_base_.backbone, panoptic_head=dict(in_channels=_base_.channels))
