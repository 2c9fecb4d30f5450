"""COCO 2017 for detection: mmdet's pictures and augmentation, box AP by faster-coco-eval."""

_base_ = ['mmdet::_base_/datasets/coco_detection.py', './coco_1x.py']

val_evaluator = dict(type='FasterCocoMetric')
test_evaluator = val_evaluator
