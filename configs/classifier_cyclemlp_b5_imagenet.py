"""CycleMLP-B5 on ImageNet-1K: 300 epochs of 8 GPUs x 128 pictures, from random weights.

Top-1 83.2 (reported by the paper).

    bash tools/dist_train.sh configs/classifier_cyclemlp_b5_imagenet.py 8
"""
_base_ = ['./_base_/classifier_cyclemlp_imagenet.py', './_base_/backbones/cyclemlp_b5.py']

model = dict(
    backbone=dict(_base_.backbone, init_cfg=None),
    head=dict(in_channels=_base_.channels[3]))
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=256)  # of which 224 are 0.875, as in the release
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
