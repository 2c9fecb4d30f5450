"""Write drawn pictures as the data sets lie on disk: `LAYOUTS` says how, `make_data` does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from ...errors import UserError
from . import coco
from .canvas import Canvas
from .figures import KEYPOINTS, SKELETON, draw_people
from .objects import OBJECTS, draw_object
from .streets import STUFF, draw_street, draw_traffic

# ADE20K's label numbers (0 is "not labelled").
ADE20K = {'sky': 3, 'mountain': 17, 'grass': 10, 'road': 7, 'building': 2, 'tree': 5, 'car': 21}
# COCO's names of what goes by another one here.
COCO_STUFF = {name: f'{name}-merged' for name in STUFF} | {
    'sky': 'sky-other-merged', 'building': 'building-other-merged', 'road': 'road',
}  # fmt: skip
FIRST_COCO_ID = {'train': 1, 'val': 500_001}
SAME = 4  # levels of 255 that JPEG, written by another release, may change on average


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk.

    Attributes:
        write: Called with the root, the split ('train' or 'val') and a generator of random numbers
            for each picture; draws the pictures and writes all files of the split.
        pictures: Pattern of the pictures' paths in each split.
        num_train: Pictures to train on, if nothing else is asked for.
        num_val: Pictures to validate on, likewise.
    """

    write: Callable[[Path, str, Iterable[Generator]], None]
    pictures: dict[str, str]
    num_train: int = 240
    num_val: int = 40


def make_data(
    layout: str,
    root: str | Path,
    *,
    num_train: int | None = None,
    num_val: int | None = None,
    seed: int = 0,
) -> Path:
    """Write an embedded data set.

    The folder appears whole or not at all; one that is already there with these very pictures is
    left as it is.

    Args:
        layout: A key of `LAYOUTS`.
        root: The folder to make.
        num_train: Pictures to train on (default: the layout's).
        num_val: Pictures to validate on (default: the layout's).
        seed: Another seed, other pictures.

    Raises:
        UserError: The folder is there and holds something else.
    """
    chosen, root = LAYOUTS[layout], Path(root)
    counts = {
        'train': chosen.num_train if num_train is None else num_train,
        'val': chosen.num_val if num_val is None else num_val,
    }
    if root.exists():
        _require_same(root, chosen, counts, seed)
        return root
    unfinished = root.with_name(root.name + '.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    for split, count in counts.items():
        chosen.write(unfinished, split, _generators(seed, split, count))
    unfinished.rename(root)
    return root


def _generators(seed: int, split: str, count: int) -> Iterable[Generator]:
    return (np.random.default_rng([seed, int(split == 'val'), i]) for i in range(count))


def _require_same(root: Path, layout: Layout, counts: dict[str, int], seed: int) -> None:
    """Compare how many pictures there are, and the first one with what this seed draws."""
    found = {split: len(list(root.glob(layout.pictures[split]))) for split in counts}
    if found == counts and _begins_with(root, layout, seed):
        return
    raise UserError(
        f'{root} is already there and holds something else',
        expected=f'{counts} pictures of seed {seed}, or no such folder',
        got=found if found != counts else 'other pictures',
        do='name another folder, or remove this one',
    )


def _begins_with(root: Path, layout: Layout, seed: int) -> bool:
    with TemporaryDirectory() as folder:
        layout.write(Path(folder), 'train', _generators(seed, 'train', 1))
        for drawn in Path(folder).glob(layout.pictures['train']):
            there = root / drawn.relative_to(folder)
            if not there.is_file():
                return False
            levels = [np.asarray(Image.open(path), np.float32) for path in (drawn, there)]
            if levels[0].shape != levels[1].shape or np.abs(levels[0] - levels[1]).mean() > SAME:
                return False
    return True


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a photograph (H, W, 3), and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, 'JPEG', quality=92)


def save_coco_picture(root: Path, split: str, index: int, picture: NDArray[np.uint8]) -> dict:
    """Write the picture of this index in a split of COCO; return its entry in `images`."""
    number = FIRST_COCO_ID[split] + index
    name = f'{number:012d}.jpg'
    save_picture(picture, root / f'{split}2017' / name)
    return dict(id=number, file_name=name, height=picture.shape[0], width=picture.shape[1])


def save_coco_json(
    root: Path, kind: str, split: str, images: list, annotations: list, categories: list
) -> None:
    """Write annotations/{kind}_{split}2017.json."""
    file = root / 'annotations' / f'{kind}_{split}2017.json'
    file.parent.mkdir(exist_ok=True)
    info = dict(description='Drawn pictures in the layout of COCO 2017')
    content = dict(info=info, licenses=[], images=images, annotations=annotations)
    file.write_text(json.dumps(dict(**content, categories=categories)))


def _seen(scene: Canvas) -> Iterator[tuple[str, int, NDArray[np.bool_]]]:
    """Name, number and mask (H, W) of each thing that shows enough of itself."""
    for number, name in enumerate(scene.thing_names, 1):
        mask = scene.things == number
        if mask.sum() >= coco.SMALLEST:
            yield name, number, mask


def _instance(number: int, image: dict, category: int, mask: NDArray[np.bool_]) -> dict:
    """A thing as it stands in COCO's `annotations`."""
    shape = dict(segmentation=coco.outline(mask), **coco.region(mask), iscrowd=0)
    return dict(id=number, image_id=image['id'], category_id=category, **shape)


def _write_ade20k(root: Path, split: str, generators: Iterable[Generator]) -> None:
    folder = {'train': 'training', 'val': 'validation'}[split]
    labels = root / 'annotations' / folder
    labels.mkdir(parents=True)
    for i, rng in enumerate(generators, 1):
        scene, name = draw_street(rng), f'ADE_{split}_{i:08d}'
        save_picture(scene.picture(), root / 'images' / folder / f'{name}.jpg')
        Image.fromarray(scene.labels(ADE20K)).save(labels / f'{name}.png')


def _write_coco(root: Path, split: str, generators: Iterable[Generator]) -> None:
    numbers = {category['name']: category['id'] for category in coco.panoptic_categories()}
    images, instances, panoptic = [], [], []
    for i, rng in enumerate(generators):
        scene = draw_traffic(rng)
        image = save_coco_picture(root, split, i, scene.picture())
        images.append(image)
        seen = [(numbers[name], mask) for name, _, mask in _seen(scene)]
        for category, mask in seen:
            number = len(instances) + FIRST_COCO_ID[split]
            instances.append(_instance(number, image, category, mask))
        labels = scene.labels({name: numbers[COCO_STUFF[name]] for name in STUFF})
        ground = [(n, labels == n) for n in np.unique(labels[labels > 0]).tolist()]
        ground = [(n, mask) for n, mask in ground if mask.sum() >= coco.SMALLEST]
        png, infos = coco.segments(seen + ground)
        file = root / 'annotations' / f'panoptic_{split}2017' / f'{image["id"]:012d}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(png).save(file)
        panoptic.append(dict(image_id=image['id'], file_name=file.name, segments_info=infos))
    save_coco_json(root, 'instances', split, images, instances, coco.thing_categories())
    save_coco_json(root, 'panoptic', split, images, panoptic, coco.panoptic_categories())


def _write_pose(root: Path, split: str, generators: Iterable[Generator]) -> None:
    categories = coco.thing_categories()
    person = next(category for category in categories if category['name'] == 'person')
    images, instances, poses = [], [], []
    for i, rng in enumerate(generators):
        scene, keypoints = draw_people(rng)
        image = save_coco_picture(root, split, i, scene.picture())
        images.append(image)
        for _, thing, mask in _seen(scene):
            number, points = len(instances) + FIRST_COCO_ID[split], keypoints[thing - 1]
            instances.append(_instance(number, image, person['id'], mask))
            labelled = dict(
                keypoints=points.ravel().tolist(), num_keypoints=int((points[:, 2] > 0).sum())
            )
            poses.append(instances[-1] | labelled)
    jointed = dict(**person, keypoints=list(KEYPOINTS), skeleton=SKELETON)
    save_coco_json(root, 'instances', split, images, instances, categories)
    save_coco_json(root, 'person_keypoints', split, images, poses, [jointed])


def _write_imagenet(root: Path, split: str, generators: Iterable[Generator]) -> None:
    classes = list(OBJECTS)
    for i, rng in enumerate(generators):
        wnid = classes[i % len(classes)]
        number = f'{wnid}_{i}' if split == 'train' else f'ILSVRC2012_val_{i + 1:08d}'
        picture = draw_object(rng, OBJECTS[wnid]).picture()
        save_picture(picture, root / split / wnid / f'{number}.JPEG')


LAYOUTS = {
    'ade20k': Layout(
        _write_ade20k,
        {'train': 'images/training/*.jpg', 'val': 'images/validation/*.jpg'},
    ),
    'coco': Layout(
        _write_coco,
        {'train': 'train2017/*.jpg', 'val': 'val2017/*.jpg'},
        num_train=400,
        num_val=60,
    ),
    'pose': Layout(
        _write_pose,
        {'train': 'train2017/*.jpg', 'val': 'val2017/*.jpg'},
        num_train=800,
        num_val=80,
    ),
    'imagenet': Layout(
        _write_imagenet,
        {'train': 'train/*/*.JPEG', 'val': 'val/*/*.JPEG'},
        num_train=1500,
        num_val=300,
    ),
}
