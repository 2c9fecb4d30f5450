"""Simple Baseline with Swin-T on COCO keypoints, 256 x 192: 210 epochs of 8 GPUs x 64 persons.

AP 72.4 with the boxes of a detector (reported by the VAN paper, Table 15). A baseline under the
same recipe as the others.

    bash tools/dist_train.sh configs/simple_baseline_256x192_swin_t_coco.py 8
"""
_base_ = ['./_base_/simple_baseline_256x192_coco.py', './_base_/backbones/swin_t.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.channels[3]))
