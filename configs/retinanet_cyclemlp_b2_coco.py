"""RetinaNet with CycleMLP-B2 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

No score to compare with: the dense figures of its paper could not be found.

    bash tools/dist_train.sh configs/retinanet_cyclemlp_b2_coco.py 8
"""
_base_ = ['./_base_/retinanet_coco.py', './_base_/backbones/cyclemlp_b2.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
