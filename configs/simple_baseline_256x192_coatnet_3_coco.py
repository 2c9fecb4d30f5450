"""Simple Baseline with CoAtNet-3 on COCO keypoints, 256 x 192: 210 epochs of 8 GPUs x 64 persons.

Nobody has published a score: the paper classifies only.

    bash tools/dist_train.sh configs/simple_baseline_256x192_coatnet_3_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_256x192_coco.py', './_base_/backbones/coatnet_3.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
