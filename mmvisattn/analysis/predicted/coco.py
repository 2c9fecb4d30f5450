"""What COCO's evaluation has in common for boxes, masks and keypoints."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import copy

import numpy as np
from mmengine.fileio import load
from numpy.typing import NDArray

MAX_DETECTIONS = 100  # of a picture, as in COCO's AP


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what COCO's code prints about itself."""
    with redirect_stdout(io.StringIO()):
        yield


def load_found(truth: object, file: str, without: str = '') -> object:
    """Results as COCO's code holds them.

    Args:
        truth: The annotations, a `COCO`.
        file: COCO results.
        without: A key that is left out of each.
    """
    found = load(file)
    for one in found:
        one.pop(without, None)
    with quiet():
        return truth.loadRes(found) if found else with_annotations(truth, [])


def with_annotations(truth: object, annotations: list[dict]) -> object:
    """The pictures and categories of a `COCO` with other annotations."""
    made = type(truth)()
    made.dataset = {**truth.dataset, 'annotations': annotations}
    with quiet():
        made.createIndex()
    return made


def average_precision(precision: NDArray) -> float:
    """The mean of COCO's precisions, NaN of a class without truth."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float('nan')


def picture_averages(evaluator: object) -> dict[int, float]:
    """The AP of each picture that has truth, by its id.

    Args:
        evaluator: COCOeval, before it evaluates.
    """
    params = evaluator.params
    params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
    params.maxDets = [MAX_DETECTIONS]
    with quiet():
        evaluator.evaluate()
    ids = list(evaluator.params.imgIds)
    of_all = evaluator.evalImgs  # by class, then by picture
    averages = {}
    for number, image in enumerate(ids):
        evaluator.evalImgs = of_all[number :: len(ids)]
        for params in (evaluator.params, evaluator._paramsEval):
            params.imgIds = [image]
        with quiet():
            evaluator.accumulate()
        value = average_precision(evaluator.eval['precision'])
        if not np.isnan(value):
            averages[image] = value
    return averages


def with_category(annotation: dict, category: int, ignored: bool) -> dict:
    """A copy of an annotation, of another category, and not to be found if ignored."""
    other = copy(annotation)
    other['category_id'] = category
    if ignored:
        other.update(ignore=1, iscrowd=1)
    return other
