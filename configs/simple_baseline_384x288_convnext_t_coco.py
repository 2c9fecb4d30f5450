"""Simple Baseline with ConvNeXt-T on COCO keypoints, 384 x 288: 210 epochs of 8 GPUs x 64 persons.

A baseline under the same recipe.

    bash tools/dist_train.sh configs/simple_baseline_384x288_convnext_t_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_384x288_coco.py', './_base_/backbones/convnext_t.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
