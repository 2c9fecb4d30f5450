"""What label maps have in common, those of panoptic segmentation too."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .base import Confusion, Errors

# Of the diagonal, as in Boundary IoU (Cheng et al., CVPR 2021, section 4), at least a pixel.
BOUNDARY = 0.02
MOSTLY = 0.5
NOTHING = 'nothing'
KINDS = {
    'right': 'labelled as the truth',
    'boundary': f'wrong, and at most {BOUNDARY:.0%} of the diagonal from the border of two classes',
    'interior': 'wrong inside a region whose interior is mostly right: holes',
    'confusion': 'wrong inside a region whose interior is mostly wrong: taken for something else',
}
Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


def confusion_of(pairs: Iterable[Pair], classes: list[str]) -> Confusion:
    """Count the pixels of each pair of classes.

    Args:
        pairs: Truth and prediction (H, W) of each picture; a label that is no class is not counted
            in the truth, and is "nothing" in the prediction.
        classes: Their names.
    """
    size = len(classes)
    counts = np.zeros((size, size + 1), np.int64)
    for truth, predicted in pairs:
        known = (truth >= 0) & (truth < size)
        there = np.where((predicted >= 0) & (predicted < size), predicted, size)
        cells = truth[known] * (size + 1) + there[known]
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    columns = size + bool(counts[:, size].any())
    names = [*classes, NOTHING][:columns]
    return Confusion(counts[:, :columns], classes, names, 'pixels')


def errors_of(pairs: Iterable[Pair], classes: list[str]) -> Errors:
    """Divide the pixels of each class into what is right and three kinds of errors."""
    counts = np.zeros((len(classes), len(KINDS)), np.int64)
    for truth, predicted in pairs:
        kinds = kinds_of_pixels(truth, predicted, len(classes))
        known = (truth >= 0) & (truth < len(classes))
        cells = truth[known] * len(KINDS) + kinds[known]
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    counts = np.vstack([counts.sum(0), counts])
    sums = counts.sum(1, keepdims=True)
    shares = np.divide(counts, sums, where=sums > 0, out=np.full(counts.shape, np.nan))
    source = f'borders as wide as in Boundary IoU (Cheng et al., CVPR 2021): {BOUNDARY:.0%}'
    return Errors(KINDS, shares, ['all pixels', *classes], 'true pixels', source)


def kinds_of_pixels(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """The number in `KINDS` of each pixel (H, W); those without truth get 0."""
    wrong = (truth != predicted) & (truth >= 0) & (truth < num_classes)
    border = borders(truth)
    inside = ~border
    kinds = np.where(wrong & border, 1, 0)
    for label in np.unique(truth[wrong & inside]):
        regions, count = ndimage.label(truth == label)
        sizes, missed = (
            np.bincount(regions[inside & chosen], minlength=count + 1) for chosen in (inside, wrong)
        )
        of_region = np.where(missed > MOSTLY * sizes, 3, 2)
        here = wrong & inside & (truth == label)
        kinds[here] = of_region[regions[here]]
    return kinds


def borders(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each pixel (H, W) is close to one of another label."""
    reach = max(1, round(BOUNDARY * np.hypot(*labels.shape)))
    edges = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        both = [slice(None, -1), slice(1, None)]
        first, second = (tuple(s if a == axis else slice(None) for a in (0, 1)) for s in both)
        differ = labels[first] != labels[second]
        edges[first] |= differ
        edges[second] |= differ
    return ndimage.distance_transform_edt(~edges) < reach if edges.any() else edges
