"""Simple Baseline with CycleMLP-B3 on COCO pose, 256 x 192: 210 epochs of 8 GPUs x 64 persons.

No score to compare with: the dense figures of its paper could not be found.

    bash tools/dist_train.sh configs/simple_baseline_256x192_cyclemlp_b3_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_256x192_coco.py', './_base_/backbones/cyclemlp_b3.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
