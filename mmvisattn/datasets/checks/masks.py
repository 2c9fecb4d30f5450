"""The masks of COCO: polygons, and run lengths as numbers or as COCO's compressed string."""

from __future__ import annotations

import math

POINTS = 3  # the fewest that a polygon has
LONGEST = 7  # characters of a run: more than 32 bits take


def broken_mask(mask: object, size: tuple[int, int]) -> str | None:
    """Why a `segmentation` is no mask of such a picture; None if it is one.

    Args:
        mask: A list of polygons [x1, y1, x2, y2, ...], or {'size': [h, w], 'counts': runs}.
        size: (width, height) of the picture.
    """
    if isinstance(mask, dict):
        return _broken_runs(mask, size)
    if not isinstance(mask, list) or not all(isinstance(p, list) for p in mask):
        return 'masks that are neither polygons nor run lengths'
    if any(len(polygon) < 2 * POINTS or len(polygon) % 2 for polygon in mask):
        return f'polygons of fewer than {2 * POINTS} numbers, or of an odd count'
    if not all(is_number(value) for polygon in mask for value in polygon):
        return 'polygons with something that is no finite number'
    return None


def _broken_runs(mask: dict, size: tuple[int, int]) -> str | None:
    width, height = size
    if mask.get('size') != [height, width]:
        return 'run lengths of another size than the picture'
    runs = mask.get('counts')
    if isinstance(runs, str):
        runs = uncompressed(runs)
    if not isinstance(runs, list) or not all(isinstance(r, int) and r >= 0 for r in runs):
        return 'run lengths that are no counts'
    if sum(runs) != width * height:  # pycocotools would read on into memory that is not the mask's
        return 'run lengths that do not fill the picture'
    return None


def uncompressed(text: str) -> list[int]:
    """The runs in COCO's compressed string (rleFrString of the COCO API).

    Five bits in each character from '0' on, the sixth says that more follow; from the fourth run
    on, the difference from the run two before. A run of more characters than any has is negative.
    """
    runs, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - ord('0')
        value |= (bits & 31) << shift
        shift += 5
        if shift > 5 * LONGEST:
            return [-1]
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def is_number(value: object) -> bool:
    """Whether a value of JSON is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False
