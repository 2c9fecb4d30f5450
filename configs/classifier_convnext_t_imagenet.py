"""ConvNeXt-T on ImageNet-1K: 300 epochs of 8 GPUs x 128 pictures, from random weights.

A baseline under the recipe of VAN. mmpretrain's own drop path and layer scale for this task.

    bash tools/dist_train.sh configs/classifier_convnext_t_imagenet.py 8
"""
_base_ = ['./_base_/classifier_imagenet.py', './_base_/backbones/convnext_t.py']

model = dict(
    backbone=dict(_base_.untrained, drop_path_rate=0.1),
    neck=None,  # the backbone averages the map before its last norm
    head=dict(in_channels=_base_.channels[3]))
