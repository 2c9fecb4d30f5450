"""COCO 2017 for instance segmentation: as detection, with masks and mask AP."""

_base_ = ['mmdet::_base_/datasets/coco_instance.py', './coco_1x.py']

val_evaluator = dict(type='FasterCocoMetric')
test_evaluator = val_evaluator
