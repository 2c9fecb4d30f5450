"""RetinaNet on COCO, 1x.

The backbone and the channels it hands to the neck are what each config fills in. It returns strides
8, 16 and 32: what the neck does not read is not built.
"""

_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './coco_detection.py']

model = dict(
    backbone=dict(_delete_=True, out_indices=(1, 2, 3)),
    neck=dict(start_level=0))
