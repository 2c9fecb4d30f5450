"""Panoptic FPN on COCO, 1x: Mask R-CNN with a semantic branch (mmdet's).

The backbone and its channels are left to each config.
"""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './coco_panoptic.py']

things_and_stuff = dict(num_things_classes=80, num_stuff_classes=53)
model = dict(
    type='PanopticFPN',
    data_preprocessor=dict(mask_pad_value=0, pad_seg=True, seg_pad_value=255),
    backbone=dict(_delete_=True, out_indices=(0, 1, 2, 3)),
    semantic_head=dict(
        type='PanopticFPNHead',
        **things_and_stuff,
        in_channels=256,
        inner_channels=128,
        start_level=0,
        end_level=4,
        norm_cfg=dict(type='GN', num_groups=32, requires_grad=True),
        conv_cfg=None,
        loss_seg=dict(type='CrossEntropyLoss', ignore_index=255, loss_weight=0.5)),
    panoptic_fusion_head=dict(type='HeuristicFusionHead', **things_and_stuff),
    test_cfg=dict(
        rcnn=dict(score_thr=0.6, nms=dict(class_agnostic=True)),
        panoptic=dict(mask_overlap=0.5, stuff_area_limit=4096)))
