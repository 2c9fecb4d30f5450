"""Predictions on pictures: from a config and a checkpoint to arrays, painted pictures and files."""

from .inferencer import Inferencer, task_of
from .results import (
    RESULTS,
    Classification,
    Detections,
    Instances,
    Panoptic,
    Poses,
    Result,
    Segmentation,
)

__all__ = [
    'RESULTS',
    'Classification',
    'Detections',
    'Inferencer',
    'Instances',
    'Panoptic',
    'Poses',
    'Result',
    'Segmentation',
    'task_of',
]
