"""Panoptic segmentation: by mmdet's sums behind PQ, and by the class of each pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.fileio import load
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from ...datasets.panopticapi import ClassStat, PQStat, rgb2id
from .base import Confusion, Errors, Predicted, Score, Table, percent
from .maps import Pair, confusion_of, errors_of


class Panoptic(Predicted):
    """Segments in PNGs."""

    scored_by = 'PQ of the picture'

    def __init__(self, metric: BaseMetric, loader: DataLoader, folder: str) -> None:
        super().__init__(metric, loader, folder)
        self.truth = metric._coco_api
        file, self.pictures = metric.result2json()
        predicted = {row['image_id']: row for row in load(file)['annotations']}
        # As mmdet's metric pairs them.
        self.pairs = [
            (
                dict(image_id=image, segments_info=segments,
                     file_name=self.truth.imgs[image]['segm_file']),
                predicted[image],
            )
            for image, segments in self.truth.img_ann_map.items()
        ]  # fmt: skip
        names = loader.dataset.metainfo['classes']
        seen = {s['category_id'] for pair in self.pairs for side in pair
                for s in side['segments_info']}  # fmt: skip
        self.categories = {
            number: category
            for number, category in self.truth.cats.items()
            if category['name'] in names or number in seen
        }

    @property
    def classes(self) -> Sequence[str]:
        """In the order of the annotations' categories."""
        return [category['name'] for category in self.categories.values()]

    @cached_property
    def _stats(self) -> list[PQStat]:
        """The matches of each picture."""
        panoptic_utils = import_module('mmdet.evaluation.functional.panoptic_utils')
        return [
            panoptic_utils.pq_compute_single_core(
                0, [pair], self.metric.seg_prefix, self.pictures, self.categories
            )
            for pair in self.pairs
        ]

    def details(self) -> list[Table]:
        """PQ, SQ and RQ of things, stuff and each class."""
        total = PQStat()
        for stat in self._stats:
            total += stat

        def row(quality: dict, numbers: Sequence[int]) -> list[float]:
            counts = [sum(getattr(total[i], name) for i in numbers) for name in ('tp', 'fp', 'fn')]
            return [*percent(quality[name] for name in ('pq', 'sq', 'rq')), *counts]

        rows = {}
        for name, things in (('all', None), ('things', True), ('stuff', False)):
            mean, each = total.pq_average(self.categories, isthing=things)
            rows[name] = row(mean, list(each))
        for number, category in self.categories.items():
            rows[category['name']] = row(_quality(total[number]), [number])
        columns = ['PQ', 'SQ', 'RQ', 'matched', 'false', 'missed']
        about = 'PQ, SQ and RQ in percent; matched, false and missed are segments.'
        return [Table('Segments', columns, rows, about)]

    def confusion(self) -> Confusion:
        """Pixels, by their classes alone."""
        return confusion_of(self._pairs(), list(self.classes))

    def errors(self) -> Errors:
        """As in semantic segmentation, by the class of each pixel."""
        return errors_of(self._pairs(), list(self.classes))

    def scores(self) -> list[Score]:
        """The PQ of each picture, over the classes in it or in its prediction."""
        values = {}
        for (true, _), stat in zip(self.pairs, self._stats, strict=True):
            quality, _ = stat.pq_average(self.categories, isthing=None)
            if quality['n']:
                values[true['image_id']] = quality['pq']
        return self.scores_of(values)

    def _pairs(self) -> Iterator[Pair]:
        labels = {number: i for i, number in enumerate(self.categories)}
        for sides in self.pairs:
            folders = (self.metric.seg_prefix, self.pictures)
            yield tuple(
                _label_map(Path(folder, side['file_name']), side['segments_info'], labels)
                for folder, side in zip(folders, sides, strict=True)
            )


def _quality(stat: ClassStat) -> dict[str, float]:
    """PQ, SQ and RQ of a class, NaN where it has no segment."""
    seen = stat.tp + stat.fp + stat.fn
    return stat.quality() if seen else dict.fromkeys(('pq', 'sq', 'rq'), float('nan'))


def _label_map(file: Path, segments: list[dict], labels: dict[int, int]) -> NDArray[np.int64]:
    """The class (H, W) of each pixel of a panoptic PNG, -1 where there is none."""
    ids = rgb2id(np.asarray(Image.open(file).convert('RGB')))
    classes = np.full(ids.shape, -1)
    for segment in segments:
        if not segment.get('iscrowd'):
            classes[ids == segment['id']] = labels[segment['category_id']]
    return classes
