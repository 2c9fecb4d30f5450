"""GFL with Swin-T on COCO, 1x: 12 epochs of 8 GPUs x 2 pictures.

Nobody has published a 1x score; after 3x at many scales box AP is 47.6 (reported by the VAN paper,
Table 11). A baseline under the same recipe as the others.

    bash tools/dist_train.sh configs/gfl_swin_t_coco.py 8
"""
_base_ = ['./_base_/gfl_coco.py', './_base_/backbones/swin_t.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.channels[1:]))
