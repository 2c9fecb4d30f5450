"""Simple Baseline with timm's CoAtNet-1 on COCO pose, 256 x 192: 210 epochs of 8 GPUs x 64 persons.

Nobody has published a score: the paper classifies only. timm's weights take pixels from -1 to 1.

    bash tools/dist_train.sh configs/simple_baseline_256x192_coatnet_1_rw_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_256x192_coco.py', './_base_/backbones/coatnet_1_rw.py']

model = dict(
    data_preprocessor=_base_.pixels,
    backbone=_base_.backbone,
    head=dict(in_channels=_base_.channels[3]))
