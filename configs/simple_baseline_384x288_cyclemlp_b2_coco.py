"""Simple Baseline with CycleMLP-B2 on COCO pose, 384 x 288: 210 epochs of 8 GPUs x 64 persons.

No score to compare with: the dense figures of its paper could not be found.

    bash tools/dist_train.sh configs/simple_baseline_384x288_cyclemlp_b2_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_384x288_coco.py', './_base_/backbones/cyclemlp_b2.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
