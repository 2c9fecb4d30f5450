"""COCO's annotation files of boxes, masks and keypoints.

What mmdet and mmpose leave out as they document (boxes without area, annotations that have no
keypoints) is a note; what they stop at, or lose without a word, is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .jsonfile import read_lists
from .masks import broken_mask, is_number
from .pictures import check_picture, is_there, leads_out
from .report import Finding, Report, brief, malformed, repeated, spread

NUMBER = (int, float)
KEYS = {
    'categories': {'id': int, 'name': str},
    'images': {'id': int, 'file_name': str, 'width': int, 'height': int},
    'annotations': {'id': int, 'image_id': int, 'category_id': int, 'bbox': list, 'area': NUMBER},
}


def check_coco(
    root: str | Path,
    sample: int | None = None,
    splits: Sequence[str] = ('train2017', 'val2017'),
) -> Report:
    """Check a folder in the layout of COCO 2017, for boxes, masks and keypoints.

        annotations/instances_{train,val}2017.json     train2017/*.jpg
        annotations/person_keypoints_*.json (for pose)  val2017/*.jpg

    One of the two kinds of files is enough.

    Args:
        root: The folder.
        sample: How many pictures of each split to open; None opens all.
        splits: The names of the splits.
    """
    root = Path(root)
    findings = []
    for split in splits:
        kinds = [
            root / 'annotations' / f'{k}_{split}.json' for k in ('instances', 'person_keypoints')
        ]
        there = [file for file in kinds if file.is_file()]
        for file in there or kinds[:1]:
            findings += check_coco_file(file, root / split, sample=sample).findings
    return Report(findings)


def check_coco_file(
    file: str | Path,
    pictures: str | Path,
    *,
    classes: Iterable[str] = (),
    num_keypoints: int | None = None,
    need_masks: bool = False,
    need_annotations: bool = True,
    evaluated: bool = True,
    sample: int | None = None,
    first: int | None = None,
) -> Report:
    """Check one annotation file and its pictures.

    Args:
        file: The file.
        pictures: The folder of its pictures.
        classes: Names that its categories must hold.
        num_keypoints: How many keypoints a person has; None: as many as the category names.
        need_masks: Whether each annotation must have a mask.
        need_annotations: False for pictures to predict, whose file has none.
        evaluated: Whether annotations must have what evaluation reads and training does not.
        sample: How many pictures to open; None opens all.
        first: How many pictures and annotations of the file to read; None reads all.
    """
    file, pictures = Path(file), Path(pictures)
    keys = {n: k for n, k in KEYS.items() if n != 'annotations' or need_annotations}
    findings, lists = read_entries(file, pictures, keys, first)
    if lists is None:
        return Report(findings)
    is_whole = first is None and not findings  # else what is referred to may be left out here
    images, annotations = lists['images'], lists.get('annotations', [])
    findings += check_categories(file, lists['categories'], classes)
    findings += repeated(f'ids that two annotations of {file} have', (a['id'] for a in annotations))
    findings += check_images(file, pictures, images, sample)
    if is_whole:
        findings += _check_references(file, lists)
    skeletons = {
        c['id']: num_keypoints or len(c['keypoints'])
        for c in lists['categories']
        if num_keypoints or isinstance(c.get('keypoints'), list)
    }
    sizes = {image['id']: (image['width'], image['height']) for image in images}
    for annotation in annotations:
        of = annotation['id']
        for fault in _annotation_faults(annotation, sizes, skeletons):
            findings.append(Finding(f'annotations in {file} with {fault}', of))
        for fault in _left_out(annotation, sizes):
            findings.append(Finding(f'annotations in {file} with {fault}', of, legal=True))
        for key in ('iscrowd', *(['num_keypoints'] if 'keypoints' in annotation else [])):
            if key not in annotation:
                kind = f'annotations in {file} without {key}, at which evaluation stops'
                findings.append(Finding(kind, of, legal=not evaluated))
    return Report([*findings, *_check_masks(file, annotations, need_masks)])


def read_entries(
    file: Path, pictures: Path, keys: dict[str, dict], first: int | None
) -> tuple[list[Finding], dict[str, list[dict]] | None]:
    """The entries of a COCO file that have these keys, and what is wrong with the others.

    Without the folder, the file or one of its lists there is nothing to check: then None.
    """
    missing = [f'no folder {pictures}'] if not pictures.is_dir() else []
    missing += [f'no file {file}'] if not file.is_file() else []
    if missing:
        return [Finding(sentence) for sentence in missing], None
    try:
        lists = read_lists(file, keys, first)
    except (OSError, ValueError, RecursionError) as error:
        return [Finding(f'{file} is not COCO json: {error}')], None
    absent = [name for name in keys if name not in lists]
    if absent:
        what = ', '.join(f"'{name}'" for name in absent)
        return [Finding(f'{file} is not COCO json: it has no list {what}')], None
    findings, good = [], {}
    for name, entries in lists.items():
        good[name] = []
        for position, entry in enumerate(entries):
            fault = malformed(entry, keys[name])
            if fault is None:
                good[name].append(entry)
            else:
                which = entry.get('id') if isinstance(entry, dict) else None
                if which is None:
                    place = f'number {position + 1}'
                else:
                    place = which if isinstance(which, int | str) else brief(which)
                findings.append(Finding(f'{name} of {file} {fault}', place))
    return findings, good


def check_categories(
    file: Path, categories: list[dict], classes: Iterable[str]
) -> Iterator[Finding]:
    """Category ids and names that occur twice, and classes that the file lacks."""
    yield from repeated(f'ids that two categories of {file} have', (c['id'] for c in categories))
    yield from repeated(f'names of two categories of {file}', (c['name'] for c in categories))
    names = {category['name'] for category in categories}
    for name in classes:
        if name not in names:
            yield Finding(f'classes of the config that {file} has no category for', name)


def check_images(
    file: Path, pictures: Path, images: list[dict], sample: int | None
) -> Iterator[Finding]:
    """Picture ids that occur twice, files that are missing, and what opening them shows."""
    yield from repeated(f'ids that two pictures of {file} have', (i['id'] for i in images))
    there = [image for image in images if is_there(pictures / image['file_name'])]
    kind = f'pictures of {file} that are not in {pictures}'
    lost = {i['file_name'] for i in images} - {i['file_name'] for i in there}
    yield from (Finding(kind, name) for name in sorted(lost))
    kind = f'pictures of {file} outside of {pictures}, which are read all the same'
    for image in there:
        if leads_out(image['file_name']):
            yield Finding(kind, image['file_name'], legal=True)
    for image in spread(there, sample):
        size = image['width'], image['height']
        yield from check_picture(pictures / image['file_name'], size)


def _check_references(file: Path, lists: dict[str, list[dict]]) -> Iterator[Finding]:
    images, categories = ({e['id'] for e in lists[name]} for name in ('images', 'categories'))
    annotations = lists.get('annotations', [])
    for annotation in annotations:
        if annotation['image_id'] not in images or annotation['category_id'] not in categories:
            kind = f'annotations in {file} of a picture or category that is not listed'
            yield Finding(kind, annotation['id'])
    used = {annotation['image_id'] for annotation in annotations}
    for image in sorted(images - used) if annotations else ():
        yield Finding(f'pictures of {file} without an annotation', image, legal=True)


def _annotation_faults(annotation: dict, sizes: dict, skeletons: dict) -> Iterator[str]:
    numbers = [*annotation['bbox'], annotation['area']]
    if len(numbers) != 5 or not all(is_number(number) for number in numbers):
        yield 'a box or area that is not of 4 and 1 finite numbers'
    if annotation.get('iscrowd', 0) not in (0, 1):
        yield 'an iscrowd other than 0 and 1'
    mask, size = annotation.get('segmentation'), sizes.get(annotation['image_id'])
    fault = broken_mask(mask, size) if mask and size else None
    if fault:
        yield fault
    keypoints, count = annotation.get('keypoints'), skeletons.get(annotation['category_id'])
    if keypoints is None or count is None:
        return
    if not isinstance(keypoints, list) or len(keypoints) != 3 * count:
        yield f'another count of keypoints than {count}'
    elif not all(is_number(number) for number in keypoints):
        yield 'keypoints that are not finite numbers'
    elif not set(keypoints[2::3]) <= {0, 1, 2}:
        yield 'keypoints whose visibility is not 0, 1 or 2'


def _left_out(annotation: dict, sizes: dict) -> Iterator[str]:
    """What mmdet and mmpose leave out of training, or clip."""
    size = sizes.get(annotation['image_id'])
    if size is None or len(annotation['bbox']) != 4 or not all(map(is_number, annotation['bbox'])):
        return
    (x, y, w, h), (width, height) = annotation['bbox'], size
    if min(w, h, annotation['area']) <= 0:
        yield 'a box or mask of no area (left out of training)'
    elif x >= width or y >= height or x + w <= 0 or y + h <= 0:
        yield 'a box outside of its picture (left out of training)'
    elif min(x, y) < -1 or x + w > width + 1 or y + h > height + 1:
        yield 'a box that sticks out of its picture (clipped)'


def _check_masks(file: Path, annotations: list[dict], need_masks: bool) -> Iterator[Finding]:
    """Annotations without a mask: fine for boxes, where no other has one either."""
    without = [a['id'] for a in annotations if not a.get('segmentation')]
    wrong = need_masks or len(without) < len(annotations)
    kind = f'annotations in {file} without a mask' + ('' if wrong else ' (boxes only)')
    return (Finding(kind, of, legal=not wrong) for of in without)
