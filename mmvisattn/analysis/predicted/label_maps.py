"""Semantic segmentation: by the sums of areas that mmseg's metric keeps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...engine.results import samples_with_label_maps
from .base import Confusion, Errors, Predicted, Score, Table, percent
from .maps import Pair, confusion_of, errors_of

MEASURES = ['mIoU', 'mFscore']


class LabelMaps(Predicted):
    """Label maps of the pictures' names."""

    scored_by = 'mIoU of the picture'

    def details(self) -> list[Table]:
        """IoU, accuracy, F-score, precision and recall of each class."""
        areas = [sum(areas) for areas in zip(*self.metric.results, strict=True)]
        measured = self._measures(areas)
        measured.pop('aAcc')
        names = list(measured)
        values = np.array([np.asarray(measured[name], float) for name in names])
        with np.errstate(invalid='ignore'):
            pixels = np.asarray(areas[3], float) / float(areas[3].sum())
        each = {name: percent([*values[:, i], pixels[i]]) for i, name in enumerate(self.classes)}
        known = ~np.isnan(values)
        mean = np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1)
        return [
            Table(
                'Classes',
                [*names, 'pixels'],
                {'mean': percent([*mean, 1.0]), **each},
                'Percent; Acc is the share of true pixels that are found (the same as Recall), '
                'pixels the share of all labelled ones. The mean is over the classes that occur.',
            )
        ]

    def confusion(self) -> Confusion:
        """Pixels."""
        return confusion_of(self._pairs(), list(self.classes))

    def errors(self) -> Errors:
        """At borders, holes inside, or something else altogether."""
        return errors_of(self._pairs(), list(self.classes))

    def scores(self) -> list[Score]:
        """The mean IoU of the classes in a picture or its prediction."""
        scores = []
        for i, areas in enumerate(self.metric.results):
            iou = np.asarray(self._measures(areas)['IoU'], float)
            if not np.isnan(iou).all():
                path = self.loader.dataset.get_data_info(i)['img_path']
                scores.append(Score(path, 100 * float(np.nanmean(iou))))
        return scores

    def _measures(self, areas: list) -> dict:
        """What mmseg computes from intersection, union, prediction and truth."""
        return self.metric.total_area_to_metrics(*areas, MEASURES)

    def _pairs(self) -> Iterator[Pair]:
        for sample in samples_with_label_maps(self.folder, self.loader):
            truth, predicted = (
                np.asarray(sample[name]['data'][0], np.int64)
                for name in ('gt_sem_seg', 'pred_sem_seg')
            )
            truth[truth == self.metric.ignore_index] = -1
            yield truth, predicted
