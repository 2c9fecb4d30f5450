"""Pictures of a test with their truth and predictions painted over them, for every task.

What `tools/test.py --out` wrote is read again, picture by picture.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as run_lengths

from ..datasets.panopticapi import rgb2id
from ..errors import UserError
from ..inference.painting import (
    IGNORED,
    INSTANCE_OFFSET,
    PAINTERS,
    SegmentationPainter,
    dataset_meta,
    enlarged,
    times_larger,
)
from ..inference.pictures import read_picture

Row = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]  # picture, truth, prediction


def read_pictures(cfg: Config, results: str | Path) -> Segments | _CocoTask | Labels:
    """The task that the folder holds predictions of, over the config's test set.

    Its `paths` name the pictures, its `row(path)` gives one with truth and prediction, its `legend`
    the colours of classes.

    Raises:
        UserError: The folder holds no predictions of a kind that can be drawn.
    """
    folder = Path(results)
    init_default_scope(cfg.get('default_scope'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    written = [task for file, task in TASKS.items() if (folder / file).is_file()]
    if not written and not hasattr(dataset, 'label_map'):  # which only data of label maps have
        raise UserError(
            f'no predictions in {folder}',
            expected=f'one of {", ".join(TASKS)}',
            do=f'tools/test.py {cfg.filename} CKPT --out {results}',
        )
    return (written or [Segments])[0](dataset, folder)


class Segments:
    """Semantic segmentation: label maps of the pictures' names."""

    def __init__(self, dataset: BaseDataset, results: Path) -> None:
        self.dataset, self.results = dataset, results
        self.painter = SegmentationPainter(dataset.metainfo, opacity=1)
        palette = self.painter.palette
        names = [*dataset.metainfo['classes'], 'not labelled']
        colours = [*palette[: len(names) - 1], palette[IGNORED]]
        self.legend = [Patch(color=c / 255, label=n) for n, c in zip(names, colours, strict=True)]

    @cached_property
    def paths(self) -> Sequence[str]:
        """The pictures, in the order of the data set."""
        return list(self._numbers)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        infos = map(self.dataset.get_data_info, range(len(self.dataset)))
        return {info['img_path']: i for i, info in enumerate(infos)}

    def row(self, path: str) -> Row:
        """A picture, and both its label maps in the classes' colours."""
        sample = self.dataset[self._numbers[path]]['data_samples']
        picture = read_picture(path)
        truth = sample.gt_sem_seg.data[0].numpy()
        file = self.results / f'{Path(path).stem}.png'
        predicted = np.asarray(Image.open(file)) - int(sample.reduce_zero_label)
        predicted = np.where(truth == IGNORED, IGNORED, predicted).astype(np.uint8)
        sample.pred_sem_seg = PixelData(data=predicted[None])
        return picture, *(self.painter.paint(picture, sample, true=t) for t in (True, False))


class _CocoTask:
    """What is written as COCO results: each picture with its annotations, true and predicted."""

    legend = ()
    results = ''  # the file of predictions
    task = ''  # the painter's

    def __init__(self, dataset: BaseDataset, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.painter = PAINTERS[self.task](dataset_meta(dataset))

    @cached_property
    def paths(self) -> Sequence[str]:
        """The pictures of the test, in the order of their ids."""
        return list(self._images)

    @cached_property
    def _images(self) -> dict[str, dict]:
        images = sorted(self._both[0]['images'], key=lambda image: image['id'])
        folder = self.dataset.data_prefix['img']
        named = {str(Path(folder, image['file_name'])): image for image in images}
        infos = map(self.dataset.get_data_info, range(len(self.dataset)))
        tested = {str(Path(info['img_path'])) for info in infos}
        return {path: image for path, image in named.items() if path in tested}

    @cached_property
    def _both(self) -> tuple[dict, dict | list]:
        """The annotations, and the predictions."""
        files = Path(self.dataset.ann_file), self.folder / self.results
        return tuple(json.loads(file.read_text()) for file in files)

    @cached_property
    def _by_picture(self) -> list[dict[int, list[dict]]]:
        return [_by_picture(content) for content in self._both]

    def row(self, path: str) -> Row:
        """A picture, with both kinds of annotations painted over it."""
        image = self._images[str(Path(path))]
        picture, self.times = _enlarged(path)
        painted = []
        for true, found in zip((True, False), self._by_picture, strict=True):
            sample = self.sample(image, found[image['id']], true)
            painted.append(self.painter.paint(picture, sample, true=true))
        return picture, *painted

    def sample(self, image: dict, found: list[dict], true: bool) -> BaseDataElement:
        """What is painted, `self.times` as large as the annotations say.

        Args:
            image: The picture's entry in `images`.
            found: Annotations or predictions of it.
            true: Whether they are the truth.
        """
        raise NotImplementedError


class Boxes(_CocoTask):
    """Detection: boxes with names and scores."""

    results = 'results.bbox.json'
    task = 'detection'

    def sample(self, image: dict, found: list[dict], true: bool) -> BaseDataElement:
        """Boxes, and masks where they are predicted."""
        found = [a for a in found if a['category_id'] in self.dataset.cat2label]
        boxes = torch.tensor([a['bbox'] for a in found]).reshape(-1, 4) * self.times
        boxes[:, 2:] += boxes[:, :2]
        labels = [self.dataset.cat2label[a['category_id']] for a in found]
        instances = InstanceData(bboxes=boxes, labels=torch.tensor(labels, dtype=torch.long))
        if self.task == 'instance':
            shape = [self.times * image[side] for side in ('height', 'width')]
            masks = [enlarged(_mask(a['segmentation'], image), self.times) for a in found]
            instances.masks = torch.from_numpy(np.array(masks, bool).reshape(-1, *shape))
        if true:
            return BaseDataElement(gt_instances=instances)
        instances.scores = torch.tensor([a['score'] for a in found])
        return BaseDataElement(pred_instances=instances)


class Masks(Boxes):
    """Instance segmentation: boxes and masks."""

    results = 'results.segm.json'
    task = 'instance'


class Panoptic(_CocoTask):
    """Panoptic segmentation: every pixel in its segment's colour, things outlined."""

    results = 'results.panoptic.json'
    task = 'panoptic'

    def sample(self, image: dict, found: list[dict], true: bool) -> BaseDataElement:
        """The segments of the picture's PNG."""
        folder = self.dataset.data_prefix['seg'] if true else self.folder / 'results.panoptic'
        shape = [self.times * image[side] for side in ('height', 'width')]
        painted = np.full(shape, len(self.dataset.metainfo['classes']))
        for one in found:
            file = Path(folder, one['file_name'])
            ids = enlarged(rgb2id(np.asarray(Image.open(file).convert('RGB'))), self.times)
            for number, segment in enumerate(one['segments_info'], 1):
                label = self.dataset.cat2label[segment['category_id']]
                painted[ids == segment['id']] = label + INSTANCE_OFFSET * number
        segments = PixelData(sem_seg=torch.from_numpy(painted)[None])
        return BaseDataElement(pred_panoptic_seg=segments)


class Poses(_CocoTask):
    """Pose: the limbs between the keypoints."""

    results = 'results.keypoints.json'
    task = 'pose'

    def sample(self, image: dict, found: list[dict], true: bool) -> BaseDataElement:
        """Keypoints, each with how visible it is or how sure the network of it."""
        points = np.array([a['keypoints'] for a in found], float)
        points = points.reshape(-1, self.dataset.metainfo['num_keypoints'], 3)
        points = points * (self.times, self.times, 1)
        persons = InstanceData(keypoints=points[..., :2], keypoints_visible=points[..., 2])
        return BaseDataElement(**{'gt_instances' if true else 'pred_instances': persons})


class Labels:
    """Classification: the picture's class, and the one predicted with its score."""

    legend = ()

    def __init__(self, dataset: BaseDataset, folder: Path) -> None:
        self.dataset, self.file = dataset, folder / 'results.json'
        self.painter = PAINTERS['classification'](dataset.metainfo)

    @cached_property
    def paths(self) -> Sequence[str]:
        """The pictures, in the order of the data set."""
        return list(self._infos)

    @cached_property
    def _infos(self) -> dict[str, dict]:
        infos = map(self.dataset.get_data_info, range(len(self.dataset)))
        return {info['img_path']: info for info in infos}

    @cached_property
    def _predicted(self) -> dict[str, dict]:
        return {found['file']: found for found in json.loads(self.file.read_text())}

    def row(self, path: str) -> Row:
        """A picture, with its class written on it."""
        picture, _ = _enlarged(path)
        name = Path(path).relative_to(self.dataset.img_prefix).as_posix()
        if name not in self._predicted:
            raise FileNotFoundError(0, 'not among the predictions', name)
        predicted = self._predicted[name]
        sample = BaseDataElement(
            gt_label=torch.tensor([self._infos[path]['gt_label']]),
            pred_label=torch.tensor([predicted['label']]),
            pred_score=torch.tensor(predicted['scores']),
        )
        return picture, *(self.painter.paint(picture, sample, true=t) for t in (True, False))


TASKS = {task.results: task for task in (Panoptic, Masks, Boxes, Poses)}
TASKS['results.json'] = Labels


def _enlarged(path: str | Path) -> tuple[NDArray[np.uint8], int]:
    """A picture (H, W, 3), so many times as large as in the file."""
    picture = Image.fromarray(read_picture(path))
    times = times_larger(*picture.size)
    return np.asarray(picture.resize([times * n for n in picture.size])), times


def _by_picture(annotations: dict | list) -> dict[int, list[dict]]:
    """{id of a picture: its annotations} of COCO annotations or results."""
    grouped = defaultdict(list)
    for one in annotations['annotations'] if isinstance(annotations, dict) else annotations:
        grouped[one['image_id']].append(one)
    return grouped


def _mask(segmentation: list | dict, image: dict) -> NDArray[np.uint8]:
    """The mask (H, W) of COCO polygons or run lengths."""
    if isinstance(segmentation, list) or isinstance(segmentation['counts'], list):
        segmentation = run_lengths.frPyObjects(segmentation, image['height'], image['width'])
    if isinstance(segmentation, list):
        segmentation = run_lengths.merge(segmentation)
    return run_lengths.decode(segmentation)
