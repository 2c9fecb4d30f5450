"""Simple Baseline with ResNet-50 on COCO keypoints, 256 x 192: 210 epochs of 8 GPUs x 64 persons.

A baseline under the same recipe.

    bash tools/dist_train.sh configs/simple_baseline_256x192_r50_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_256x192_coco.py', './_base_/backbones/r50.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
