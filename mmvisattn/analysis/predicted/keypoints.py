"""Pose: by COCO's evaluation of keypoints (xtcocotools, as mmpose computes it)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from xtcocotools.cocoeval import COCOeval

from ...errors import UserError
from .base import Confusion, Errors, Predicted, Score, Table, percent
from .coco import load_found, picture_averages, quiet

STATS = ['AP', 'AP50', 'AP75', 'AP medium', 'AP large',
         'AR', 'AR50', 'AR75', 'AR medium', 'AR large']  # fmt: skip
# Similarity of a keypoint, as OKS has it: above the first it is good, above the second close.
GOOD, CLOSE = 0.85, 0.5
LOOSE = 0.1  # OKS from which on a prediction belongs to a person
KINDS = {
    'good': f'similarity of {GOOD} at least',
    'jitter': f'{CLOSE} to {GOOD}: beside its place',
    'inversion': 'at the place of its left or right counterpart',
    'miss': 'somewhere else',
    'no person': f'nobody was predicted there with an OKS of {LOOSE}',
}


class Keypoints(Predicted):
    """Keypoints of persons."""

    scored_by = 'AP of the picture'

    def __init__(self, metric: BaseMetric, loader: DataLoader, folder: str) -> None:
        super().__init__(metric, loader, folder)
        self.truth = metric.coco
        self.found = load_found(self.truth, str(self.folder / 'results.keypoints.json'))
        self.meta = loader.dataset.metainfo

    @property
    def classes(self) -> Sequence[str]:
        """Names of the keypoints."""
        return [self.meta['keypoint_id2name'][i] for i in range(self.meta['num_keypoints'])]

    def details(self) -> list[Table]:
        """AP and AR, then how well each keypoint is placed."""
        evaluator = self._evaluator()
        with quiet():
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        stats = np.where(evaluator.stats < 0, np.nan, evaluator.stats)  # of no person: -1
        similarity = self._similarities()[0]
        known = ~np.isnan(similarity)
        total = np.maximum(known.sum(0), 1)

        def share(of: NDArray) -> NDArray:
            return np.where(known.any(0), (of & known).sum(0) / total, np.nan)

        numbers = np.stack(
            [np.where(known, similarity, 0).sum(0) / total, share(similarity >= GOOD),
             share(similarity >= CLOSE)], 1
        )  # fmt: skip
        rows = {
            name: [*percent(numbers[i]), int(known[:, i].sum())]
            for i, name in enumerate(self.classes)
        }
        return [
            Table('Persons', STATS, {'all': percent(stats)},
                  'Percent. AP and AR are means over OKS 0.5 to 0.95.'),
            Table('Keypoints', ['similarity', 'good', 'good or close', 'labelled'], rows,
                  f'Percent of the labelled ones, those of persons that were not found too. '
                  f'Good is a similarity of {GOOD}, close of {CLOSE}.'),
        ]  # fmt: skip

    def confusion(self) -> Confusion:
        """Keypoints have no classes to confuse."""
        raise UserError(
            'a pose has no classes that could be confused',
            do='error_breakdown.py says which keypoints are taken for their counterparts',
        )

    def errors(self) -> Errors:
        """What became of each labelled keypoint."""
        similarity, mirrored, matched = self._similarities()
        known = ~np.isnan(similarity)
        kinds = np.select(
            [np.broadcast_to(~matched[:, None], known.shape), similarity >= GOOD,
             similarity >= CLOSE, mirrored >= CLOSE],
            [4, 0, 1, 2], 3,
        )  # fmt: skip
        counts = np.stack([(known & (kinds == kind)).sum(0) for kind in range(len(KINDS))], 1)
        counts = np.vstack([counts.sum(0), counts])
        sums = counts.sum(1, keepdims=True)
        shares = np.divide(counts, sums, where=sums > 0, out=np.full(counts.shape, np.nan))
        source = 'Ronchi and Perona, Benchmarking and Error Diagnosis in Pose Estimation, ICCV 2017'
        names = ['all keypoints', *self.classes]
        return Errors(KINDS, shares, names, 'labelled keypoints', source)

    def scores(self) -> list[Score]:
        """The AP of each picture with persons in it."""
        return self.scores_of(picture_averages(self._evaluator()))

    def _evaluator(self) -> COCOeval:
        with quiet():
            evaluator = COCOeval(
                self.truth, self.found, self.metric.iou_type,
                np.asarray(self.meta['sigmas']), self.metric.use_area,
            )  # fmt: skip
        evaluator.params.useSegm = None
        return evaluator

    def _similarities(self) -> tuple[NDArray, NDArray, NDArray]:
        """Of each person: the similarity of each keypoint with its own truth (NaN where none is
        labelled) and with that of its counterpart, both (persons, keypoints), and whether somebody
        was predicted there."""
        persons = list(self._matched())
        own, mirrored = (np.array([p[i] for p in persons]) for i in (0, 1))
        return own, mirrored, np.array([p[2] for p in persons])

    def _matched(self) -> Iterator[tuple[NDArray, NDArray, bool]]:
        evaluator = self._evaluator()
        evaluator.params.iouThrs = np.array([LOOSE])
        evaluator.params.areaRng = evaluator.params.areaRng[:1]
        with quiet():
            evaluator.evaluate()
        flip, points = np.asarray(self.meta['flip_indices']), self.meta['num_keypoints']
        scale = 2 * (2 * np.asarray(self.meta['sigmas'])) ** 2
        for image in filter(None, evaluator.evalImgs):
            of_person = dict(zip(image['gtIds'], image['gtMatches'][0], strict=True))
            for number, ignored in zip(image['gtIds'], image['gtIgnore'], strict=True):
                if ignored:
                    continue
                true = self.truth.anns[number]
                place = np.asarray(true['keypoints'], float).reshape(-1, 3)
                area = true['area'] if self.metric.use_area else 0.53 * np.prod(true['bbox'][2:])
                found = int(of_person[number])
                if found < 0:
                    yield np.where(place[:, 2] > 0, 0.0, np.nan), np.zeros(points), False
                    continue
                predicted = np.asarray(self.found.anns[found]['keypoints'], float).reshape(-1, 3)
                both = []
                for other in (place, place[flip]):
                    distance = ((predicted - other)[:, :2] ** 2).sum(1)
                    similar = np.exp(-distance / scale / (area + np.spacing(1)))
                    both.append(np.where(other[:, 2] > 0, similar, np.nan))
                yield *both, True
