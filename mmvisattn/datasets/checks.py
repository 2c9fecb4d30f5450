"""What is missing or wrong in a data set's folder, in the layouts that the configs expect.

Each check returns sentences, none when all is well. `tools/check_data.py` runs them over every
file; a training run looks at the layout and at a few files before it starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ADE20K_CLASSES = 150
NOT_LABELLED = 255
SHOWN = 3  # how many files of a kind a sentence names


def check_ade20k(root: str | Path, sample: int | None = None) -> list[str]:
    """Check a folder in the layout of ADEChallengeData2016.

        images/training/*.jpg         annotations/training/*.png
        images/validation/*.jpg       annotations/validation/*.png

    Labels are 0 (not labelled) to 150.

    Args:
        root: The folder.
        sample: How many pictures and label maps of each split to open; None opens all.
    """
    root = Path(root)
    problems = []
    for split in ('training', 'validation'):
        problems += check_segmentation(
            root / 'images' / split,
            root / 'annotations' / split,
            labels=range(ADE20K_CLASSES + 1),
            sample=sample,
        )
    return problems


def check_segmentation(
    image_dir: str | Path,
    label_dir: str | Path,
    *,
    labels: Iterable[int],
    image_suffix: str = '.jpg',
    label_suffix: str = '.png',
    sample: int | None = None,
) -> list[str]:
    """Check pictures and label maps of the same names in two folders.

    Args:
        image_dir: The pictures.
        label_dir: The label maps: one channel, the value of a pixel is its label.
        labels: The values a label map may have (255, "not labelled", is always allowed).
        image_suffix: Ending of the pictures' names.
        label_suffix: Ending of the label maps' names.
        sample: How many pairs to open, spread over the folder; None opens all.
    """
    image_dir, label_dir = Path(image_dir), Path(label_dir)
    missing = [f'no folder {folder}' for folder in (image_dir, label_dir) if not folder.is_dir()]
    if missing:
        return missing
    images, maps = _names(image_dir, image_suffix), _names(label_dir, label_suffix)
    if not images:
        return [f'no *{image_suffix} in {image_dir}']
    problems = _listed(f'pictures in {image_dir} without a label map in {label_dir}', images - maps)
    both = _spread(sorted(images & maps), sample)
    allowed = np.zeros(256, bool)
    allowed[[*labels, NOT_LABELLED]] = True
    return problems + [
        problem
        for name in both
        for problem in _check_pair(
            image_dir / (name + image_suffix), label_dir / (name + label_suffix), allowed
        )
    ]


def check_coco(root: str | Path, sample: int | None = None) -> list[str]:
    """Check a folder in the layout of COCO 2017, for boxes, masks and keypoints.

        annotations/instances_{train,val}2017.json     train2017/*.jpg
        annotations/person_keypoints_*.json (for pose)  val2017/*.jpg

    Args:
        root: The folder.
        sample: How many pictures of each split to open; None opens all.
    """
    root = Path(root)
    problems = []
    for split in ('train2017', 'val2017'):
        pictures = root / split
        if not pictures.is_dir():
            problems.append(f'no folder {pictures}')
            continue
        file = root / 'annotations' / f'instances_{split}.json'
        files = [file, *file.parent.glob(f'person_keypoints_{split}.json')]
        problems += [p for file in files for p in _check_coco_json(file, pictures)]
        problems += [
            problem
            for path in _spread(sorted(pictures.glob('*.jpg')), sample)
            for problem in _check_picture(path)
        ]
    return problems


def _check_coco_json(file: Path, pictures: Path) -> list[str]:
    if not file.is_file():
        return [f'no file {file}']
    try:
        content = json.loads(file.read_text())
        images = {image['id']: image['file_name'] for image in content['images']}
        categories = {category['id'] for category in content['categories']}
        used = {(a['image_id'], a['category_id'], a['id']) for a in content['annotations']}
    except (ValueError, KeyError, TypeError) as error:
        return [f'{file} is not COCO json: {type(error).__name__} {error}']
    there = {path.name for path in pictures.iterdir()}
    return [
        *_listed(f'pictures in {file} that are not in {pictures}', set(images.values()) - there),
        *_listed(
            f'annotations in {file} of a picture or category that is not listed',
            {str(i) for image, cat, i in used if image not in images or cat not in categories},
        ),
    ]


def _check_pair(image: Path, label: Path, allowed: np.ndarray) -> list[str]:
    problems = _check_picture(image) + _check_picture(label)
    if problems:
        return problems
    with Image.open(image) as picture, Image.open(label) as labels:
        if labels.mode not in ('L', 'P'):
            return [f'{label} has mode {labels.mode}; a label map has one channel of 8 bits']
        if picture.size != labels.size:
            problems.append(f'{label} is {labels.size} and its picture {picture.size} pixels')
        present = np.unique(np.asarray(labels))
    bad = present[~allowed[present]].tolist()
    if bad:
        problems.append(f'{label} has labels {bad} outside 0 to {np.flatnonzero(allowed)[-2]}')
    return problems


def _check_picture(path: Path) -> list[str]:
    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError) as error:
        return [f'{path} does not decode: {error}']
    return []


def _names(folder: Path, suffix: str) -> set[str]:
    found = (p.relative_to(folder).as_posix() for p in folder.rglob('*' + suffix))
    return {name.removesuffix(suffix) for name in found}


def _spread(items: Sequence, count: int | None) -> Sequence:
    """`count` of the items at even distances, all if None."""
    if count is None or count >= len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _listed(what: str, names: set[str]) -> list[str]:
    if not names:
        return []
    shown = ', '.join(sorted(names)[:SHOWN]) + (', ...' if len(names) > SHOWN else '')
    return [f'{len(names)} {what}: {shown}']
