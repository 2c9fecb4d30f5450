"""Simple Baseline with SASA-R38 on COCO keypoints, 256 x 192: 210 epochs of 8 GPUs x 64 persons.

The paper does not train it, and no weights were released: no score to compare with.

    bash tools/dist_train.sh configs/simple_baseline_256x192_sasa_r38_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_256x192_coco.py', './_base_/backbones/sasa_r38.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
