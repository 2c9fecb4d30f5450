"""Detection and instance segmentation: by COCO's evaluation (pycocotools)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.utils.data import DataLoader

from .base import Confusion, Errors, Predicted, Score, Table, mean_of, percent
from .coco import (
    MAX_DETECTIONS,
    average_precision,
    load_found,
    picture_averages,
    quiet,
    with_annotations,
    with_category,
)

BACKGROUND = 'background'
SURE = 0.3  # from this score on a prediction counts in a confusion matrix
OVERLAP = 0.5
LOOSE = 0.1  # what overlaps less is background
NAMES = {'bbox': 'Boxes', 'segm': 'Masks'}
KINDS = {
    'found': 'AP at IoU 0.75',
    'inexact': 'what IoU 0.5 would add',
    'localisation': f'what IoU {LOOSE} would add',
    'similar': 'confusion with classes of the same supercategory',
    'other classes': 'confusion with the others',
    'background': 'boxes where nothing is',
    'missed': 'what is never found',
}


class Boxes(Predicted):
    """Boxes, or the masks in them where a test wrote masks."""

    scored_by = 'AP of the picture'

    def __init__(self, metric: BaseMetric, loader: DataLoader, folder: str) -> None:
        super().__init__(metric, loader, folder)
        self.truth = metric._coco_api
        files = metric.results2json()
        self.files = {kind: files[kind] for kind in NAMES if kind in metric.metrics}
        self.categories = self.truth.getCatIds(catNms=list(super().classes))
        self.kind = list(self.files)[-1]
        self.found = self._found(self.kind)

    @property
    def classes(self) -> Sequence[str]:
        """In the order of the annotations' categories."""
        return [category['name'] for category in self.truth.loadCats(self.categories)]

    def details(self) -> list[Table]:
        """AP and AR by class and by size, for each kind of prediction."""
        return [self._details(kind) for kind in self.files]

    def _details(self, kind: str) -> Table:
        found = self.found if kind == self.kind else self._found(kind)
        evaluator = self._evaluator(self.truth, found, kind)
        evaluator.params.maxDets = list(self.metric.proposal_nums)
        evaluator.params.iouThrs = np.asarray(self.metric.iou_thrs)
        with quiet():
            evaluator.evaluate()
            evaluator.accumulate()
        precision = evaluator.eval['precision'][..., -1]  # (IoU, recall, class, size)
        recall = evaluator.eval['recall'][..., -1]  # (IoU, class, size)
        thresholds = {
            f'AP{100 * t:.0f}': np.isclose(evaluator.params.iouThrs, t) for t in (0.5, 0.75)
        }
        columns = ['AP', *thresholds, 'AP small', 'AP medium', 'AP large', 'AR', 'objects']
        counts = Counter(
            a['category_id']
            for image in evaluator.params.imgIds
            for a in self.truth.imgToAnns[image]
            if not a.get('iscrowd')
        )

        def row(which: slice) -> list[float]:
            parts = [precision[:, :, which, 0]]
            parts += [precision[t][:, :, which, 0] for t in thresholds.values()]
            parts += [precision[:, :, which, size] for size in (1, 2, 3)]
            numbers = percent(map(average_precision, [*parts, recall[:, which, 0]]))
            return [*numbers, sum(counts[c] for c in self.categories[which])]

        rows = {'all': row(slice(None))}
        rows |= {name: row(slice(i, i + 1)) for i, name in enumerate(self.classes)}
        return Table(
            NAMES[kind], columns, rows,
            'Percent. AP is the mean over IoU 0.5 to 0.95; small is below 32x32 pixels, large '
            f'above 96x96; AR is of {evaluator.params.maxDets[-1]} predictions a picture.',
        )  # fmt: skip

    def confusion(self) -> Confusion:
        """Objects: a prediction belongs to what it overlaps, first to what is of its own class."""
        size = len(self.categories)
        label = {category: i for i, category in enumerate(self.categories)}
        counts = np.zeros((size + 1, size + 1), np.int64)
        for truth, found, overlaps in self._overlaps():
            matched = match(
                overlaps, np.equal.outer([f['category_id'] for f in found],
                                         [t['category_id'] for t in truth])
            )  # fmt: skip
            for i, j in matched.items():
                counts[label[truth[j]['category_id']], label[found[i]['category_id']]] += 1
            for i in set(range(len(found))) - set(matched):
                counts[size, label[found[i]['category_id']]] += 1
            for j in set(range(len(truth))) - set(matched.values()):
                counts[label[truth[j]['category_id']], size] += 1
        names = [*self.classes, BACKGROUND]
        unit = f'objects, of predictions with a score of {SURE} and IoU {OVERLAP}'
        return Confusion(counts, names, names, unit)

    def errors(self) -> Errors:
        """What AP would gain if errors of a kind were forgiven, one kind after the other."""
        rows = [self._errors_of(category) for category in self.categories]
        rows = np.array(rows).reshape(-1, len(KINDS))
        mean = [mean_of(column) for column in rows.T]
        names = ['mean', *self.classes]
        source = "COCO's analysis of detectors (cocodataset.org, after Hoiem et al., ECCV 2012)"
        return Errors(KINDS, np.vstack([mean, rows]), names, 'area below the PR curve', source)

    def _errors_of(self, category: int) -> list[float]:
        """The share of each kind for a class; NaN if it does not occur."""
        similar = self.truth.cats[category].get('supercategory')
        others = [c for c in self.truth.cats.values() if c['id'] in self.categories]
        family = {c['id'] for c in others if similar and c.get('supercategory') == similar}
        found = [a for a in self.found.dataset['annotations'] if a['category_id'] == category]
        (strict, loose, localised) = self._precisions(
            category, found, set(), [0.75, OVERLAP, LOOSE]
        )
        if np.isnan(strict):
            return [np.nan] * len(KINDS)
        (by_family,) = self._precisions(category, found, family, [LOOSE])
        (by_all,) = self._precisions(category, found, set(self.categories), [LOOSE])
        (reached,) = self._precisions(category, found, set(self.categories), [LOOSE], perfect=True)
        curve = np.maximum.accumulate([strict, loose, localised, by_family, by_all, reached, 1.0])
        return list(np.diff(curve, prepend=0.0))

    def _precisions(
        self,
        category: int,
        found: list[dict],
        forgiven: set[int],
        thresholds: list[float],
        perfect: bool = False,
    ) -> list[float]:
        """The AP of a class at some thresholds, where predictions on other classes do not count.

        Args:
            category: Its id.
            found: Its predictions.
            forgiven: The classes on which a prediction is no error.
            thresholds: Of IoU, falling.
            perfect: Count no false positive: the recall that is reached.
        """
        truth = [
            with_category(a, category, ignored=a['category_id'] != category)
            for a in self.truth.dataset['annotations']
            if a['category_id'] == category or a['category_id'] in forgiven
        ]
        sides = [with_annotations(self.truth, annotations) for annotations in (truth, found)]
        evaluator = self._evaluator(*sides, self.kind)
        evaluator.params.catIds = [category]
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ['all']
        evaluator.params.maxDets = [MAX_DETECTIONS]
        evaluator.params.iouThrs = np.array(thresholds)
        with quiet():
            evaluator.evaluate()
            evaluator.accumulate()
        precision = evaluator.eval['precision'][:, :, 0, 0, 0]
        precision = np.where(precision > 0, 1.0, precision) if perfect else precision
        return [average_precision(one) for one in precision]

    def scores(self) -> list[Score]:
        """The AP of each picture in which there is something."""
        averages = picture_averages(self._evaluator(self.truth, self.found, self.kind))
        return self.scores_of(averages)

    def _found(self, kind: str) -> COCO:
        # With a box beside its mask a prediction would have the size of the box.
        without = 'bbox' if kind == 'segm' else ''
        return load_found(self.truth, self.files[kind], without)

    def _evaluator(self, truth: COCO, found: COCO, kind: str) -> COCOeval:
        with quiet():
            evaluator = COCOeval(truth, found, kind)
        evaluator.params.catIds = self.categories
        evaluator.params.imgIds = self.truth.getImgIds()
        return evaluator

    def _overlaps(self) -> Iterator[tuple[list[dict], list[dict], NDArray]]:
        """Truth, sure predictions (the surest first) and their IoU (found, true) by picture."""
        for image in self.truth.getImgIds():
            truth = [a for a in self.truth.imgToAnns[image] if a['category_id'] in self.categories]
            crowds = [a for a in truth if a.get('iscrowd')]
            truth = [a for a in truth if not a.get('iscrowd')]
            found = [
                a for a in self.found.imgToAnns[image]
                if a['score'] >= SURE and a['category_id'] in self.categories
            ]  # fmt: skip
            found.sort(key=lambda one: -one['score'])
            overlaps = self._iou(found, truth, crowd=False)
            in_crowd = (self._iou(found, crowds, crowd=True) >= OVERLAP).any(1)
            counts = ~in_crowd | (overlaps >= OVERLAP).any(1)
            yield truth, [f for f, c in zip(found, counts, strict=True) if c], overlaps[counts]

    def _iou(self, found: list[dict], truth: list[dict], crowd: bool) -> NDArray:
        if not found or not truth:
            return np.zeros((len(found), len(truth)))
        if self.kind == 'bbox':
            sides = [[a['bbox'] for a in side] for side in (found, truth)]
        else:
            sides = [[self.truth.annToRLE(a) for a in side] for side in (found, truth)]
        return np.asarray(run_lengths.iou(*sides, [int(crowd)] * len(truth)))


def match(overlaps: NDArray, same: NDArray) -> dict[int, int]:
    """One truth at most for each prediction: of its own class first, then of any.

    Args:
        overlaps: IoU (predictions, truth), the surest prediction first.
        same: Whether their classes are equal.

    Returns:
        {prediction: truth}.
    """
    matched: dict[int, int] = {}
    for allowed in (same, ~same):
        for i in range(len(overlaps)):
            free = allowed[i] & (overlaps[i] >= OVERLAP) if len(overlaps[i]) else np.zeros(0, bool)
            free[list(matched.values())] = False
            if i not in matched and free.any():
                matched[i] = int(np.argmax(np.where(free, overlaps[i], -1)))
    return matched
