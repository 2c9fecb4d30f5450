"""Pictures and label maps of the same names in two folders, as ADE20K has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .pictures import check_picture, shown_size
from .report import Finding, Report, spread

ADE20K_CLASSES = 150
NOT_LABELLED = 255


def check_ade20k(root: str | Path, sample: int | None = None) -> Report:
    """Check a folder in the layout of ADEChallengeData2016.

        images/training/*.jpg         annotations/training/*.png
        images/validation/*.jpg       annotations/validation/*.png

    Labels are 0 (not labelled) to 150.

    Args:
        root: The folder.
        sample: How many pictures and label maps of each split to open; None opens all.
    """
    root = Path(root)
    return Report(
        finding
        for split in ('training', 'validation')
        for finding in check_segmentation(
            root / 'images' / split,
            root / 'annotations' / split,
            labels=range(ADE20K_CLASSES + 1),
            sample=sample,
        ).findings
    )


def check_segmentation(
    image_dir: str | Path,
    label_dir: str | Path,
    *,
    labels: Iterable[int],
    image_suffix: str = '.jpg',
    label_suffix: str = '.png',
    sample: int | None = None,
) -> Report:
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
    missing = [Finding(f'no folder {f}') for f in (image_dir, label_dir) if not f.is_dir()]
    if missing:
        return Report(missing)
    images, maps = _names(image_dir, image_suffix), _names(label_dir, label_suffix)
    if not images:
        return Report([Finding(f'no *{image_suffix} in {image_dir}')])
    kind = f'pictures in {image_dir} without a label map in {label_dir}'
    findings = [Finding(kind, name) for name in sorted(images - maps)]
    allowed = np.zeros(256, bool)
    allowed[[*labels, NOT_LABELLED]] = True
    for name in spread(sorted(images & maps), sample):
        image, label = image_dir / (name + image_suffix), label_dir / (name + label_suffix)
        findings += _check_pair(image, label, allowed)
    return Report(findings)


def _check_pair(image: Path, label: Path, allowed: np.ndarray) -> Iterator[Finding]:
    found = [*check_picture(image), *(f for f in check_picture(label) if not f.legal)]
    yield from found
    if any(not finding.legal for finding in found):
        return
    with Image.open(image) as picture, Image.open(label) as labels:
        if labels.mode not in ('L', 'P'):
            yield Finding(f'{label} has mode {labels.mode}; a label map has one channel of 8 bits')
            return
        size = shown_size(picture)
        if size != labels.size:
            yield Finding(f'{label} is {labels.size} and its picture {size} pixels')
        present = np.unique(np.asarray(labels))
    bad = present[~allowed[present]].tolist()
    if bad:
        yield Finding(f'{label} has labels {bad} outside 0 to {np.flatnonzero(allowed)[-2]}')


def _names(folder: Path, suffix: str) -> set[str]:
    found = (p.relative_to(folder).as_posix() for p in folder.rglob('*' + suffix))
    return {name.removesuffix(suffix) for name in found}
