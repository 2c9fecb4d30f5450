"""RetinaNet with SASA-R50 on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

The paper reports box AP 36.2 after 150 epochs of its own (Table 2); no weights were released.

    bash tools/dist_train.sh configs/retinanet_sasa_r50_coco.py 8
"""
_base_ = ['./_base_/retinanet_coco.py', './_base_/backbones/sasa_r50.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
