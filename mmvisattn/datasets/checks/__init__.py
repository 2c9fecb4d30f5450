"""What is missing or wrong in a data set's folder, in the layouts that the configs expect.

Each check returns a `Report`: sentences, none when all is well. `tools/check_data.py` runs them
over every file; a run looks at the layout and at a few files before it starts.
"""

from .coco import check_coco, check_coco_file
from .imagenet import check_class_folder, check_imagenet
from .panoptic import check_coco_panoptic, check_panoptic_file
from .report import Report
from .segmentation import check_ade20k, check_segmentation

# What looks at a whole folder, by the name of its layout.
CHECKS = {
    'ade20k': check_ade20k,
    'coco': check_coco,
    'coco_panoptic': check_coco_panoptic,
    'imagenet': check_imagenet,
}

__all__ = [
    'CHECKS',
    'Report',
    'check_ade20k',
    'check_class_folder',
    'check_coco',
    'check_coco_file',
    'check_coco_panoptic',
    'check_imagenet',
    'check_panoptic_file',
    'check_segmentation',
]
