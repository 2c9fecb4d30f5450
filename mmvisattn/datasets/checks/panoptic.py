"""COCO's panoptic annotations: a JSON file, and PNG files whose colours are segment ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..panopticapi import OFFSET, VOID, rgb2id
from .coco import KEYS, NUMBER, check_categories, check_images, read_entries
from .masks import is_number
from .pictures import check_picture, is_there
from .report import Finding, Report, malformed, repeated, spread

PANOPTIC_KEYS = {
    'categories': {**KEYS['categories'], 'isthing': int},
    'images': KEYS['images'],
    'annotations': {'image_id': int, 'file_name': str, 'segments_info': list},
}
SEGMENT_KEYS = {'id': int, 'category_id': int, 'iscrowd': int, 'bbox': list, 'area': NUMBER}


def check_coco_panoptic(
    root: str | Path,
    sample: int | None = None,
    splits: Sequence[str] = ('train2017', 'val2017'),
) -> Report:
    """Check a folder in the layout of COCO 2017 panoptic.

        annotations/panoptic_{train,val}2017.json      train2017/*.jpg
        annotations/panoptic_{train,val}2017/*.png     val2017/*.jpg

    Args:
        root: The folder.
        sample: How many pictures and PNG files of each split to open; None opens all.
        splits: The names of the splits.
    """
    root = Path(root)
    return Report(
        finding
        for split in splits
        for finding in check_panoptic_file(
            root / 'annotations' / f'panoptic_{split}.json',
            root / split,
            root / 'annotations' / f'panoptic_{split}',
            sample=sample,
        ).findings
    )


def check_panoptic_file(
    file: str | Path,
    pictures: str | Path,
    segments: str | Path,
    *,
    classes: Iterable[str] = (),
    sample: int | None = None,
    first: int | None = None,
) -> Report:
    """Check one panoptic annotation file, its pictures and its PNG files.

    Args:
        file: The JSON file.
        pictures: The folder of the pictures.
        segments: The folder of the PNG files.
        classes: Names that its categories must hold. A segment of another category, at which
            mmdet stops, is wrong then.
        sample: How many pictures and PNG files to open; None opens all.
        first: How many pictures and annotations of the file to read; None reads all.
    """
    file, pictures, segments = Path(file), Path(pictures), Path(segments)
    findings, lists = read_entries(file, pictures, PANOPTIC_KEYS, first)
    if not segments.is_dir():
        findings.append(Finding(f'no folder {segments}'))
    if lists is None or not segments.is_dir():
        return Report(findings)
    is_whole = first is None and not findings  # else what is referred to may be left out here
    annotations = lists['annotations']
    classes = list(classes)
    findings += check_categories(file, lists['categories'], classes)
    findings += repeated(
        f'pictures that two annotations of {file} are of', (a['image_id'] for a in annotations)
    )
    findings += check_images(file, pictures, lists['images'], sample)
    if is_whole:
        findings += _check_references(file, lists)
    images = {image['id']: image for image in lists['images']}
    things = {category['id']: category['isthing'] for category in lists['categories']}
    foreign = {c['id'] for c in lists['categories'] if classes and c['name'] not in classes}
    for category, isthing in things.items():
        if isthing not in (0, 1):
            findings.append(Finding(f'categories of {file} with isthing not 0 or 1', category))
    for annotation in annotations:
        findings += _check_segments(file, annotation, set(things), foreign)
    for annotation in spread([a for a in annotations if a['image_id'] in images], sample):
        findings += _check_png(file, segments, annotation, images[annotation['image_id']])
    return Report(findings)


def _check_references(file: Path, lists: dict[str, list[dict]]) -> Iterator[Finding]:
    images = {image['id'] for image in lists['images']}
    annotated = {annotation['image_id'] for annotation in lists['annotations']}
    for image in sorted(annotated - images):
        yield Finding(f'annotations in {file} of a picture that is not listed', image)
    for image in sorted(images - annotated):
        yield Finding(f'pictures of {file} without an annotation', image)


def _check_segments(
    file: Path, annotation: dict, categories: set[int], foreign: set[int]
) -> Iterator[Finding]:
    of = f'picture {annotation["image_id"]}'
    good = []
    for segment in annotation['segments_info']:
        fault = malformed(segment, SEGMENT_KEYS)
        if fault:
            yield Finding(f'segments in {file} {fault}', of)
            continue
        good.append(segment)
        place = f'{segment["id"]} of {of}'
        if segment['category_id'] not in categories:
            yield Finding(f'segments in {file} of a category that is not listed', place)
        elif segment['category_id'] in foreign:
            kind = f'segments in {file} of a category that is no class of the config'
            yield Finding(kind, f'{place} (category {segment["category_id"]})')
        if not VOID < segment['id'] < OFFSET:
            yield Finding(f'segments in {file} whose id no colour stands for', place)
        numbers = [*segment['bbox'], segment['area']]
        if len(numbers) != 5 or not all(is_number(number) for number in numbers):
            yield Finding(f'segments in {file} without a box of 4 finite numbers', place)
    ids = (f'{segment["id"]} of {of}' for segment in good)
    yield from repeated(f'segments in {file} with the id of another', ids)


def _check_png(file: Path, folder: Path, annotation: dict, image: dict) -> Iterator[Finding]:
    # mmdet derives the name from the picture's, and never reads the annotation's.
    loaded = image['file_name'].replace('.jpg', '.png')
    if annotation['file_name'] != loaded:
        kind = f'annotations in {file} whose file_name is not that of the picture, with .png'
        yield Finding(kind, annotation['file_name'])
    png = folder / loaded
    if not is_there(png):
        yield Finding(f'annotations in {file} without a file in {folder}', loaded)
        return
    found = list(check_picture(png, (image['width'], image['height'])))
    yield from found
    if found:
        return
    with Image.open(png) as picture:
        if picture.mode != 'RGB':
            yield Finding(f'{png} has mode {picture.mode}; its colours are to be ids: RGB')
            return
        drawn = set(np.unique(rgb2id(np.asarray(picture))).tolist()) - {VOID}
    listed = {s['id'] for s in annotation['segments_info'] if not malformed(s, SEGMENT_KEYS)}
    for kind, ids in (
        (f'segments drawn in {folder} that {file} does not list', drawn - listed),
        (f'segments of {file} that are not drawn in {folder}', listed - drawn),
    ):
        yield from (Finding(kind, f'{of} in {png.name}') for of in sorted(ids))
