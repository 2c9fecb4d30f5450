"""Predictions in COCO's format: the rows of a json of boxes, masks or poses.

pycocotools trusts what it is given, and computes in C with the run lengths of masks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from .coco import NUMBER
from .masks import broken_mask, is_number
from .pictures import is_there
from .report import Finding, malformed

ROW = {'image_id': int, 'category_id': int, 'score': NUMBER}
KEYS = {
    'bbox': {**ROW, 'bbox': list},
    'segm': {**ROW, 'bbox': list, 'segmentation': dict},
    'keypoints': {**ROW, 'keypoints': list},
}


def check_predictions(file: Path, kind: str) -> Iterator[Finding]:
    """What is wrong with a json of predictions, such as the boxes that poses are looked for in."""
    if not is_there(file):
        yield Finding(f'no file {file}')
        return
    try:
        rows = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        yield Finding(f'{file} is no json: {error}')
        return
    if not isinstance(rows, list):
        yield Finding(f'{file} is no list of predictions')
        return
    for number, row in enumerate(rows, 1):
        fault = prediction_fault(row, kind, {})
        if fault:
            yield Finding(f'predictions of {file} {fault}', f'number {number}')


def prediction_fault(row: object, kind: str, images: Mapping[int, dict]) -> str | None:
    """Why a row is no prediction of such a kind; None if it is one.

    Args:
        row: What the json holds.
        kind: 'bbox', 'segm' or 'keypoints'.
        images: The pictures by id, with `width` and `height`. A row of another one is not judged
            by it.
    """
    fault = malformed(row, KEYS[kind])
    if fault:
        return fault
    box, keypoints = row.get('bbox', [0] * 4), row.get('keypoints', [])
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return 'whose box is not of 4 finite numbers'
    if len(keypoints) % 3 or not all(map(is_number, [*keypoints, row['score']])):
        return 'whose score or keypoints are not finite numbers'
    image = images.get(row['image_id'])
    if kind == 'segm' and image:
        return _mask_fault(row['segmentation'], (image['width'], image['height']))
    return None


def _mask_fault(mask: dict, size: tuple[int, int]) -> str | None:
    if not isinstance(mask.get('counts'), str):  # which the annotations' masks need not be
        return 'whose mask is not of compressed run lengths'
    fault = broken_mask(mask, size)
    return fault and f'with {fault}'
