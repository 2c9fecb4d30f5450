"""RetinaNet with CycleMLP-B1 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Box AP 38.6 (reported by its authors in an answer; their table could not be found).

    bash tools/dist_train.sh configs/retinanet_cyclemlp_b1_coco.py 8
"""
_base_ = ['./_base_/retinanet_coco.py', './_base_/backbones/cyclemlp_b1.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
