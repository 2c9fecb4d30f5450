"""Simple Baseline with VAN-B2 on COCO keypoints, 384 x 288: 210 epochs of 8 GPUs x 64 persons.

AP 76.7 with the boxes of a detector (reported by the VAN paper, Table 15).

    bash tools/dist_train.sh configs/simple_baseline_384x288_van_b2_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_384x288_coco.py', './_base_/backbones/van_b2.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
