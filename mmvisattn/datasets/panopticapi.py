"""What mmdet imports from `panopticapi` (COCO 2018 Panoptic Segmentation Task API).

That package is on no package index, and mmdet refuses to load or to score panoptic data without
it, although mmdet matches the segments itself. Of `panopticapi` it takes how an id becomes a
colour, and the sums over classes behind PQ (Kirillov et al., Panoptic Segmentation, CVPR 2019).
`provide` puts these where mmdet looks; where the package is installed, it is used.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

VOID = 0
OFFSET = 256**3


def rgb2id(colour: NDArray) -> NDArray:
    """Segment ids (H, W) of a panoptic PNG (H, W, 3): R + 256 G + 256^2 B."""
    return np.asarray(colour, np.int64) @ (1, 256, 256**2)


def id2rgb(ids: NDArray) -> NDArray[np.uint8]:
    """The colours (H, W, 3) of segment ids (H, W) below 256^3."""
    return (np.asarray(ids)[..., None] // (1, 256, 256**2) % 256).astype(np.uint8)


@dataclass
class ClassStat:
    """Matches of one class: true and false positives, false negatives, and the sum of IoU."""

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def quality(self) -> dict[str, float]:
        """PQ, SQ and RQ of the class, 0 where it has no segment."""
        size = self.tp + (self.fp + self.fn) / 2
        return {
            'pq': self.iou / size if size else 0.0,
            'sq': self.iou / self.tp if self.tp else 0.0,
            'rq': self.tp / size if size else 0.0,
        }


class PQStat:
    """The matches of every class; two of them add up."""

    def __init__(self) -> None:
        self.pq_per_cat = defaultdict(ClassStat)

    def __getitem__(self, label: int) -> ClassStat:
        return self.pq_per_cat[label]

    def __iadd__(self, other: PQStat) -> PQStat:
        for label, stat in other.pq_per_cat.items():
            for name, value in vars(stat).items():
                setattr(self[label], name, getattr(self[label], name) + value)
        return self

    def pq_average(
        self, categories: dict[int, dict], isthing: bool | None
    ) -> tuple[dict[str, float], dict[int, dict[str, float]]]:
        """The mean over the classes that occur, and the numbers of each.

        Args:
            categories: The categories of COCO's json by id.
            isthing: Things only, stuff only, or (None) all. NaN where none of them occurs.
        """
        chosen = [i for i, c in categories.items() if isthing in (None, c['isthing'] == 1)]
        each = {label: self[label].quality() for label in chosen}
        seen = [each[i] for i in chosen if self[i].tp + self[i].fp + self[i].fn]
        mean = {k: sum(q[k] for q in seen) / len(seen) if seen else np.nan
                for k in ('pq', 'sq', 'rq')}  # fmt: skip
        return {**mean, 'n': len(seen)}, each


def provide() -> None:
    """Let `import panopticapi` find this module's names, unless the package is there."""
    if 'panopticapi' in sys.modules or importlib.util.find_spec('panopticapi'):
        return
    package = ModuleType('panopticapi', __doc__)
    for part, names in (
        ('utils', dict(rgb2id=rgb2id, id2rgb=id2rgb)),
        ('evaluation', dict(VOID=VOID, OFFSET=OFFSET, PQStat=PQStat)),
    ):
        module = ModuleType(f'panopticapi.{part}', __doc__)
        vars(module).update(names)
        setattr(package, part, module)
        sys.modules[module.__name__] = module
    sys.modules['panopticapi'] = package
