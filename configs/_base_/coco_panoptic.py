"""COCO 2017 for panoptic segmentation: mmdet's pictures and augmentation, PQ."""

_base_ = ['mmdet::_base_/datasets/coco_panoptic.py', './coco_1x.py']
