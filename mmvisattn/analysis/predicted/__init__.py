"""What a test predicted, beside the truth: tables, confusion, kinds of errors, worst pictures.

A class for each task, over the metric that `engine.results` fills from the files of
`tools/test.py --out`; the numbers are the metrics' own, or those of the libraries under them.
"""

from __future__ import annotations

from importlib import import_module

from mmengine.config import Config

from ...engine.results import read_results
from .base import Confusion, Errors, Predicted, Score, Table

__all__ = ['Confusion', 'Errors', 'Predicted', 'Score', 'Table', 'read_predicted']

# By the metric that wrote the files (`engine.results.FORMATS`): a module, which needs what the
# metric's library does, and its class.
TASKS = {
    'mmdet.CocoMetric': ('boxes', 'Boxes'),
    'mmdet.CocoPanopticMetric': ('panoptic', 'Panoptic'),
    'mmpose.CocoMetric': ('keypoints', 'Keypoints'),
    'mmseg.IoUMetric': ('label_maps', 'LabelMaps'),
    'mmpretrain.Accuracy': ('classes', 'Classes'),
}


def read_predicted(cfg: Config, folder: str) -> Predicted:
    """The predictions of a folder over the test data of a config.

    Where a config has several metrics, its first counts.

    Raises:
        UserError: They are missing, incomplete, or of a kind that cannot be read.
    """
    metrics, loader = read_results(cfg, folder)
    name, metric = metrics[0]
    module, task = TASKS[name]
    return getattr(import_module(f'.{module}', __name__), task)(metric, loader, folder)
