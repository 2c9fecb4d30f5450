"""RetinaNet with CycleMLP-B1 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 38.6 (stated by a user in issue 12 of its repository; the paper's table could not be found).
The weight decay is that of the issue, PVT's; the other sizes train with 0.05.

    bash tools/dist_train.sh configs/retinanet_cyclemlp_b1_coco.py 8
"""
_base_ = ['./_base_/retinanet_coco.py', './_base_/backbones/cyclemlp_b1.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
