"""Intersections and unions of label maps, from one count of the pairs (label, prediction)."""

from __future__ import annotations

import torch

from ..registry import METRICS
from .toolbox import on_top_of

# Pixels counted at a time on a CPU: their numbers stay in its cache, where those of a large picture
# would go to memory and back with each pass. Less, and adding up the counts of blocks shows.
BLOCK = 2**18


def count_areas(
    predicted: torch.Tensor, label: torch.Tensor, num_classes: int, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Count the pixels of each class in a prediction and in the truth.

    Pixels labelled `ignore_index` count nowhere. Where one of the two is no class, the other
    counts alone.

    Args:
        predicted: Class of each pixel, any shape.
        label: Their true classes, of the same shape and device.
        num_classes: C; classes are 0 to C - 1.
        ignore_index: The label of pixels without truth.

    Returns:
        Intersection, union, prediction and truth, each (C,) int64, on the CPU.
    """
    # One row or column beyond the classes at either end, for all that is none; ignored pixels
    # keep a row of their own.
    first, last = min(-1, ignore_index - 1), max(num_classes, ignore_index + 1)
    rows, columns = last - first + 1, num_classes + 2
    counts = torch.zeros(rows * columns, dtype=torch.int64, device=label.device)
    size = max(1, min(BLOCK, label.numel()) if label.device.type == 'cpu' else label.numel())
    # int32, as these passes take as long as memory does.
    buffers = torch.empty(2, size, dtype=torch.int32, device=label.device)
    blocks = (labels.flatten().split(size) for labels in (predicted, label))
    for parts in zip(*blocks, strict=True):
        pairs, of_label = (buffers[i, : len(part)].copy_(part) for i, part in enumerate(parts))
        pairs.clamp_(-1, num_classes).add_(of_label.clamp_(first, last), alpha=columns)
        counts += torch.bincount(pairs.add_(1 - first * columns), minlength=rows * columns)
    counts = counts.view(rows, columns).cpu()
    counts[ignore_index - first] = 0
    in_truth = counts.sum(1)[-first : num_classes - first]
    in_prediction = counts.sum(0)[1:-1]
    intersection = counts[-first : num_classes - first, 1:-1].diagonal()
    return intersection, in_prediction + in_truth - intersection, in_prediction, in_truth


@on_top_of('mmseg.IoUMetric', METRICS)
class IoUMetric:
    """mmseg's IoUMetric by one count of pairs for each picture, where mmseg takes three histograms.

    The counts are the same, but for a single class, where mmseg's histogram has no range, and are
    summed as integers. They are kept for each picture, as MMEngine
    drops those that a distributed sampler repeats.
    """

    intersect_and_union = staticmethod(count_areas)
