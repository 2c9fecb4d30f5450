"""Classification: by the scores of each picture."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.registry import METRICS

from .base import Confusion, Errors, Predicted, Score, Table, mean_of, percent

KINDS = {
    'first': 'the true class has the highest score',
    'second': 'it has the second',
    'third to fifth': 'it is among the five highest',
    'further down': 'it is not',
}
RANKS = (1, 2, 5)  # where a kind ends


class Classes(Predicted):
    """A label and scores for each picture."""

    scored_by = 'score of the true class'

    def details(self) -> list[Table]:
        """Precision, recall and F1 of each class, by mmpretrain's metric."""
        scores, labels = self._both()
        with METRICS.switch_scope_and_registry('mmpretrain') as metrics:
            single_label = metrics.get('SingleLabelMetric')
        ((*measured, support),) = single_label.calculate(scores, labels, average=None)
        values = np.array([np.asarray(one, float) for one in measured])
        values[:, np.asarray(support) == 0] = np.nan
        each = {name: [*values[:, i], int(support[i])] for i, name in enumerate(self.classes)}
        mean = [*map(mean_of, values), len(labels)]
        return [
            Table(
                'Classes',
                ['precision', 'recall', 'F1', 'pictures'],
                {'mean': mean, **each},
                'Percent of the pictures; recall is the top-1 accuracy within the class.',
            )
        ]

    def confusion(self) -> Confusion:
        """Pictures."""
        scores, labels = self._both()
        with METRICS.switch_scope_and_registry('mmpretrain') as metrics:
            matrix = metrics.get('ConfusionMatrix')
        counts = matrix.calculate(scores, labels, num_classes=len(self.classes))
        return Confusion(np.asarray(counts, np.int64), self.classes, self.classes, 'pictures')

    def errors(self) -> Errors:
        """At which place the true class stands."""
        scores, labels = self._both()
        of_truth = scores.gather(1, labels[:, None])
        rank = 1 + (scores > of_truth).sum(1)
        kinds = np.searchsorted(RANKS, np.asarray(rank))
        counts = np.zeros((len(self.classes), len(KINDS)))
        np.add.at(counts, (np.asarray(labels), kinds), 1)
        counts = np.vstack([counts.sum(0), counts])
        sums = counts.sum(1, keepdims=True)
        shares = np.divide(counts, sums, where=sums > 0, out=np.full(counts.shape, np.nan))
        names = ['all pictures', *self.classes]
        return Errors(KINDS, shares, names, 'pictures', 'the order of the scores')

    def scores(self) -> list[Score]:
        """What the network says of the true class."""
        scores, labels = self._both()
        paths = (self.loader.dataset.get_data_info(i)['img_path'] for i in range(len(labels)))
        values = percent(scores.gather(1, labels[:, None])[:, 0])
        return [Score(path, value) for path, value in zip(paths, values, strict=True)]

    def _both(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (pictures, classes) and true labels (pictures,)."""
        found = self.metric.results
        scores = torch.stack([one['pred_score'] for one in found])
        return scores, torch.cat([one['gt_label'] for one in found])
