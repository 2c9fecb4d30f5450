"""What is drawn, as COCO writes it: categories, polygons, run lengths, panoptic PNGs."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from ..panopticapi import id2rgb

SMALLEST = 24  # pixels; what shows less of itself is not annotated
MOST_OUTLINES = 2  # what shows in more parts, or has holes, is written as run lengths

# COCO's categories by supercategory. Those of things count on from 1; GAPS were never used.
THINGS = {
    'person': 'person',
    'vehicle': 'bicycle, car, motorcycle, airplane, bus, train, truck, boat',
    'outdoor': 'traffic light, fire hydrant, stop sign, parking meter, bench',
    'animal': 'bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe',
    'accessory': 'backpack, umbrella, handbag, tie, suitcase',
    'sports': 'frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, '
    'skateboard, surfboard, tennis racket',
    'kitchen': 'bottle, wine glass, cup, fork, knife, spoon, bowl',
    'food': 'banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake',
    'furniture': 'chair, couch, potted plant, bed, dining table, toilet',
    'electronic': 'tv, laptop, mouse, remote, keyboard, cell phone',
    'appliance': 'microwave, oven, toaster, sink, refrigerator',
    'indoor': 'book, clock, vase, scissors, teddy bear, hair drier, toothbrush',
}
GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
STUFF = {
    'textile': {92: 'banner', 93: 'blanket', 109: 'curtain', 141: 'pillow', 168: 'towel',
                200: 'rug-merged'},
    'building': {95: 'bridge', 128: 'house', 151: 'roof', 166: 'tent',
                 197: 'building-other-merged'},
    'raw-material': {100: 'cardboard', 195: 'paper-merged'},
    'furniture-stuff': {107: 'counter', 112: 'door-stuff', 130: 'light', 133: 'mirror-stuff',
                        156: 'shelf', 161: 'stairs', 188: 'cabinet-merged', 189: 'table-merged'},
    'floor': {118: 'floor-wood', 190: 'floor-other-merged'},
    'plant': {119: 'flower', 184: 'tree-merged', 193: 'grass-merged'},
    'food-stuff': {122: 'fruit', 196: 'food-other-merged'},
    'ground': {125: 'gravel', 144: 'platform', 145: 'playingfield', 147: 'railroad', 149: 'road',
               154: 'sand', 159: 'snow', 191: 'pavement-merged', 194: 'dirt-merged'},
    'structural': {138: 'net', 185: 'fence-merged'},
    'water': {148: 'river', 155: 'sea', 178: 'water-other'},
    'wall': {171: 'wall-brick', 175: 'wall-stone', 176: 'wall-tile', 177: 'wall-wood',
             199: 'wall-other-merged'},
    'window': {180: 'window-blind', 181: 'window-other'},
    'ceiling': {186: 'ceiling-merged'},
    'sky': {187: 'sky-other-merged'},
    'solid': {192: 'mountain-merged', 198: 'rock-merged'},
}  # fmt: skip


def thing_categories() -> list[dict]:
    """The 80 categories of COCO's instances, in the order of their ids."""
    ids = (i for i in range(1, 91) if i not in GAPS)
    names = ((name, kind) for kind, listed in THINGS.items() for name in listed.split(', '))
    return [dict(supercategory=k, id=i, name=n) for i, (n, k) in zip(ids, names, strict=True)]


def panoptic_categories() -> list[dict]:
    """The 133 categories of COCO panoptic, in the order of their ids."""
    things = [dict(isthing=1, **category) for category in thing_categories()]
    stuff = [
        dict(isthing=0, supercategory=kind, id=number, name=name)
        for kind, named in STUFF.items()
        for number, name in named.items()
    ]
    return things + sorted(stuff, key=lambda category: category['id'])


def region(mask: NDArray[np.bool_]) -> dict:
    """The area in pixels and the bounding box [x, y, width, height] of a mask (H, W)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    return dict(area=int(mask.sum()), bbox=box)


def outline(mask: NDArray[np.bool_]) -> list[list[float]] | dict:
    """A mask (H, W) as COCO polygons or, if these would be many or have holes, as run lengths."""
    # At twice the size the outline runs through the outer half of every pixel at the edge, so that
    # the polygon, filled, covers the centres of these pixels and of no others.
    double = np.kron(mask, np.ones((2, 2))).astype(np.uint8)
    found, nesting = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = nesting[0, :, 3] >= 0
    if holes.any() or len(found) > MOST_OUTLINES:
        return run_lengths(mask)
    return [((contour.ravel() + 0.5) / 2).tolist() for contour in found]


def run_lengths(mask: NDArray[np.bool_]) -> dict:
    """A mask (H, W) as COCO's uncompressed run lengths: column by column, background first."""
    pixels = np.concatenate([[False], mask.ravel(order='F')])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    runs = np.diff([0, *changes, mask.size])
    return dict(counts=runs.tolist(), size=list(mask.shape))


def segments(kinds: Iterable[tuple[int, NDArray[np.bool_]]]) -> tuple[NDArray[np.uint8], list]:
    """A panoptic PNG (H, W, 3) and its `segments_info`.

    Args:
        kinds: Category id and mask (H, W) of each segment; masks do not overlap.
    """
    kinds = list(kinds)
    ids = np.zeros(kinds[0][1].shape, np.int32)
    infos = []
    for number, (category, mask) in enumerate(kinds, 1):
        identity = category + 256 * number
        ids[mask] = identity
        infos.append(dict(id=identity, category_id=category, iscrowd=0, **region(mask)))
    return id2rgb(ids), infos
