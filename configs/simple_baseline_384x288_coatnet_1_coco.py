"""Simple Baseline with CoAtNet-1 on COCO keypoints, 384 x 288: 210 epochs of 8 GPUs x 64 persons.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/simple_baseline_384x288_coatnet_1_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_384x288_coco.py', './_base_/backbones/coatnet_1.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
