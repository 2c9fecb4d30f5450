"""Draw pictures, truth and predictions of a test run, of any task, as one PNG.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/draw_results.py CONFIG RESULTS PNG
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as run_lengths

from mmvisattn.datasets.checks.report import spread
from mmvisattn.datasets.panopticapi import rgb2id
from mmvisattn.engine.arguments import Options
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError, reported
from mmvisattn.inference.painting import (
    IGNORED,
    INSTANCE_OFFSET,
    PAINTERS,
    SegmentationPainter,
    dataset_meta,
    enlarged,
    times_larger,
)

Row = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]  # picture, truth, prediction


def draw(config: str, results: str, png: str, count: int, options: dict | None = None) -> None:
    """Write the PNG.

    Args:
        config: The config that was tested.
        results: Folder of predictions (tools/test.py --out).
        png: The file to write.
        count: How many pictures to draw, spread over the test set.
        options: Changes to the config.

    Raises:
        UserError: A prediction is missing.
    """
    task = read_results(config, results, options)
    try:
        rows = list(task.rows(count))
    except FileNotFoundError as error:
        raise UserError(
            f'no prediction {error.filename}', do=f'tools/test.py {config} CKPT --out {results}'
        ) from error
    figure = Figure(figsize=(9, 2.45 * len(rows) + 0.7), layout='constrained')
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for row, images in zip(axes, rows, strict=True):
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image)
            axis.set_axis_off()
    for axis, title in zip(axes[0], ('picture', 'truth', 'prediction'), strict=True):
        axis.set_title(title)
    if task.legend:
        figure.legend(handles=task.legend, loc='outside lower center', ncols=5, frameon=False)
    figure.savefig(png, dpi=150)
    print(f'{png}: {len(rows)} validation pictures, their truth and what {config} predicts')


def read_results(config: str, results: str, options: dict | None = None) -> 'Segments':
    """The task that the folder holds predictions of, over the config's test set.

    Its `rows(count)` gives pictures, truth and predictions, its `legend` the colours of classes.

    Raises:
        UserError: The folder holds no predictions of a kind that can be drawn.
    """
    cfg, folder = load_config(config, options), Path(results)
    init_default_scope(cfg.get('default_scope'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    written = [task for file, task in TASKS.items() if (folder / file).is_file()]
    if not written and not hasattr(dataset, 'label_map'):  # which only data of label maps have
        raise UserError(
            f'no predictions in {folder}',
            expected=f'one of {", ".join(TASKS)}',
            do=f'tools/test.py {config} CKPT --out {results}',
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

    def rows(self, count: int) -> Iterator[Row]:
        """Each picture, and both its label maps in the classes' colours."""
        for i in spread(range(len(self.dataset)), count):
            sample = self.dataset[i]['data_samples']
            picture = np.asarray(Image.open(sample.img_path).convert('RGB'))
            truth = sample.gt_sem_seg.data[0].numpy()
            file = self.results / f'{Path(sample.img_path).stem}.png'
            predicted = np.asarray(Image.open(file)) - int(sample.reduce_zero_label)
            predicted = np.where(truth == IGNORED, IGNORED, predicted).astype(np.uint8)
            sample.pred_sem_seg = PixelData(data=predicted[None])
            yield picture, *(self.painter.paint(picture, sample, true=t) for t in (True, False))


class _CocoTask:
    """What is written as COCO results: each picture with its annotations, true and predicted."""

    legend = ()
    results = ''  # the file of predictions
    task = ''  # the painter's

    def __init__(self, dataset: BaseDataset, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.painter = PAINTERS[self.task](dataset_meta(dataset))

    def rows(self, count: int) -> Iterator[Row]:
        """Each picture, with both kinds of annotations painted over it."""
        content = json.loads(Path(self.dataset.ann_file).read_text())
        predicted = json.loads((self.folder / self.results).read_text())
        both = [_by_picture(content), _by_picture(predicted)]
        for image in spread(sorted(content['images'], key=lambda image: image['id']), count):
            path = Path(self.dataset.data_prefix['img'], image['file_name'])
            picture, self.times = _enlarged(path)
            samples = [self.sample(image, of[image['id']], of is both[0]) for of in both]
            yield (
                picture,
                *(
                    self.painter.paint(picture, sample, true=sample is samples[0])
                    for sample in samples
                ),
            )

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
        points = points.reshape(len(found), -1, 3) * (self.times, self.times, 1)
        persons = InstanceData(keypoints=points[..., :2], keypoints_visible=points[..., 2])
        return BaseDataElement(**{'gt_instances' if true else 'pred_instances': persons})


class Labels:
    """Classification: the picture's class, and the one predicted with its score."""

    legend = ()

    def __init__(self, dataset: BaseDataset, folder: Path) -> None:
        self.dataset, self.file = dataset, folder / 'results.json'
        self.painter = PAINTERS['classification'](dataset.metainfo)

    def rows(self, count: int) -> Iterator[Row]:
        """Each picture, with its class written on it."""
        predicted = {found['file']: found for found in json.loads(self.file.read_text())}
        for i in spread(range(len(self.dataset)), count):
            info = self.dataset.get_data_info(i)
            picture, _ = _enlarged(info['img_path'])
            name = Path(info['img_path']).relative_to(self.dataset.img_prefix).as_posix()
            if name not in predicted:
                raise FileNotFoundError(0, 'not among the predictions', name)
            sample = BaseDataElement(
                gt_label=torch.tensor([info['gt_label']]),
                pred_label=torch.tensor([predicted[name]['label']]),
                pred_score=torch.tensor(predicted[name]['scores']),
            )
            yield picture, *(self.painter.paint(picture, sample, true=t) for t in (True, False))


TASKS = {task.results: task for task in (Panoptic, Masks, Boxes, Poses)}
TASKS['results.json'] = Labels


def _enlarged(path: str | Path) -> tuple[NDArray[np.uint8], int]:
    """A picture (H, W, 3), so many times as large as in the file."""
    picture = Image.open(path).convert('RGB')
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


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('results', help='folder of predictions')
    parser.add_argument('png', help='file to write')
    parser.add_argument('--num', type=int, default=5, help='how many pictures (default: 5)')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        draw(args.config, args.results, args.png, args.num, args.cfg_options)
