"""Predictions on disk, in the formats of the data sets: written by a test, evaluated without one.

| task | files in the folder |
|---|---|
| detection, instance segmentation | `results.bbox.json`, `results.segm.json`: COCO results |
| panoptic segmentation | `results.panoptic.json`, and its PNGs in `results.panoptic/` |
| pose | `results.keypoints.json`: COCO keypoint results |
| semantic segmentation | a PNG of labels for each picture, numbered as the annotations are |
| classification | `results.json`: file (below the folder of pictures), label and scores |

With `classes` of one's own the labels are numbered from 1 on in their order.

The libraries' metrics write these, and compute their numbers from them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.registry import METRICS, init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from ..datasets.checks.predictions import prediction_fault
from ..errors import UserError
from ..registry import METRICS as OUR_METRICS
from .runner import Runner

SHOWN = 5  # of what is missing, so many are named
# For a metric whose predictions lie on disk already: one entry that adds none.
NO_PREDICTIONS = {'img_id': None, 'keypoints': ()}


class Format(NamedTuple):
    """How a metric hands out its predictions and takes them back.

    Attributes:
        writers: (metric's config, folder, test data set's config) to the configs of metrics that
            stand in its place and write into the folder.
        read: (metric's config, folder, test data) to the metric, with the predictions in it.
    """

    writers: Callable[[dict, Path, dict], list[dict]]
    read: Callable[[dict, Path, DataLoader], BaseMetric]


def write_predictions(cfg: Config, folder: str) -> None:
    """Make the test of a config write its predictions; see `complete_or_absent`.

    Raises:
        UserError: No metric of the config can write, or the folder is a file.
    """
    if Path(folder).exists() and not Path(folder).is_dir():
        raise UserError(f'--out {folder} is a file', expected='a folder')
    formats = [FORMATS.get(_format_of(metric, cfg)) for metric in _metrics(cfg)]
    if not any(formats):
        raise UserError(
            '--out: no metric of this config can write predictions',
            expected=f'one of {", ".join(FORMATS)} in test_evaluator',
            got=', '.join(metric.type for metric in _metrics(cfg)) or None,
        )
    dataset = cfg.test_dataloader.dataset
    cfg.test_evaluator = [
        writer
        for metric, form in zip(_metrics(cfg), formats, strict=True)
        for writer in (form.writers(metric, _partial(folder), dataset) if form else [metric])
    ]


@contextmanager
def complete_or_absent(folder: str | None) -> Iterator[Path | None]:
    """Let what a test writes appear in `folder` once it has ended well, and not otherwise.

    Until then it lies in the folder that this gives.
    """
    if folder is None:
        yield None
        return
    partial = _partial(folder)
    if is_main_process():
        shutil.rmtree(partial, ignore_errors=True)  # of a test that was killed
        partial.mkdir(parents=True)
    barrier()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if is_main_process():
        _move_into(partial, Path(folder))


def evaluate_results(cfg: Config, folder: str) -> dict[str, float]:
    """The metrics of the predictions in a folder: what the test that wrote them reported.

    Neither the model nor its weights are looked at.

    Raises:
        UserError: A metric does not write its predictions, or some of them are missing.
    """
    metrics, loader = read_results(cfg, folder)
    evaluator = Evaluator([metric for _, metric in metrics])
    evaluator.dataset_meta = loader.dataset.metainfo
    with explained(folder):
        return evaluator.evaluate(len(loader.dataset))


def read_results(cfg: Config, folder: str) -> tuple[list[tuple[str, BaseMetric]], DataLoader]:
    """The metrics of a config with the predictions of a folder in them, before they are computed.

    Returns:
        (its name in `FORMATS`, metric) for each, and the loader of the test data.

    Raises:
        UserError: A metric does not write its predictions, or some of them are missing.
    """
    names = [_format_of(metric, cfg) for metric in _metrics(cfg)]
    if not names or None in names:
        raise UserError(
            'a metric of this config cannot be computed from files',
            expected=', '.join(FORMATS),
            got=', '.join(metric.type for metric in _metrics(cfg)) or None,
        )
    if not Path(folder).is_dir():
        raise UserError(f'no folder {folder}', do='tools/test.py CONFIG CHECKPOINT --out FOLDER')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    loader = Runner.build_dataloader(cfg.test_dataloader)
    with explained(folder):
        return [
            (name, FORMATS[name].read(metric, Path(folder), loader))
            for name, metric in zip(names, _metrics(cfg), strict=True)
        ], loader


@contextmanager
def explained(folder: str) -> Iterator[None]:
    """Say of which folder the files are that a library cannot compute with."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # what the metrics do with files that tests have not written
        raise UserError(
            f'no metric can be computed from {folder}',
            expected='the folder that tools/test.py CONFIG CHECKPOINT --out FOLDER wrote',
            got=f'{type(error).__name__}: {error}',
            do='write it again; if it is sound, MMVISATTN_TRACEBACK=1 shows what failed',
        ) from error


@OUR_METRICS.register_module()
class ClassificationResults(BaseMetric):
    """Write what a classifier says of each picture; it adds no number.

    Args:
        out_file: The json to write: a list of {'file', 'label', 'scores'}.
        pictures: The folder that the files' names begin in.
        **kwargs: For MMEngine's BaseMetric.
    """

    default_prefix = 'results'

    def __init__(self, out_file: str, pictures: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.out_file = out_file
        self.pictures = pictures

    def process(self, data_batch: dict, data_samples: Iterable[dict]) -> None:
        """Keep the scores of a batch."""
        for sample in data_samples:
            file = os.path.relpath(sample['img_path'], self.pictures)
            self.results.append((file, sample['pred_score'].cpu()))

    def compute_metrics(self, results: list[tuple[str, torch.Tensor]]) -> dict:
        """Write the file, a row for each picture: of ImageNet half a gigabyte."""
        with open(self.out_file, 'w') as out:
            for number, (file, scores) in enumerate(results):
                # As few digits as float32 has: json would write those of float64.
                numbers = ', '.join(scores.float().numpy().astype(str))
                row = f'"file": {json.dumps(file)}, "label": {int(scores.argmax())}'
                out.write(f'{"," if number else "["}\n{{{row}, "scores": [{numbers}]}}')
            out.write('\n]\n')
        return {}


def _coco_writers(metric: dict, folder: Path, _: dict) -> list[dict]:
    return [{**metric, 'outfile_prefix': str(folder / 'results')}]


def _read_boxes(config: dict, folder: Path, _: DataLoader) -> BaseMetric:
    metric = _build_coco(config, folder)
    kinds = [{'proposal': 'bbox'}.get(kind, kind) for kind in metric.metrics]
    files = {kind: folder / f'results.{kind}.json' for kind in kinds}
    for kind, file in files.items():
        _check_coco_results(file, kind, metric._coco_api.imgs)
    files = {kind: str(file) for kind, file in files.items()}
    metric.results2json = lambda *_: {**files, 'proposal': files.get('bbox')}
    return metric


def _read_keypoints(config: dict, folder: Path, _: DataLoader) -> BaseMetric:
    metric = _build_coco(config, folder)
    _check_coco_results(folder / 'results.keypoints.json', 'keypoints', metric.coco.imgs)
    metric.results2json = lambda *_, **__: None
    return metric


def _read_panoptic(config: dict, folder: Path, _: DataLoader) -> BaseMetric:
    metric = _build_coco(config, folder)
    file, pictures = folder / 'results.panoptic.json', folder / 'results.panoptic'
    content = _load_json(file)
    if not isinstance(content, dict) or not isinstance(content.get('annotations'), list):
        raise UserError(f'{file} is no panoptic result', expected='{"annotations": [...]}')
    names = {row['image_id']: row['file_name'] for row in content['annotations']}
    _require(file, metric._coco_api.imgToAnns, names, 'picture')
    _require(pictures, names.values(), os.listdir(pictures) if pictures.is_dir() else (), 'PNG')
    metric.result2json = lambda *_, **__: (str(file), str(pictures))
    return metric


def _read_label_maps(config: dict, folder: Path, loader: DataLoader) -> BaseMetric:
    metric = METRICS.build(config)
    infos = [loader.dataset.get_data_info(i) for i in range(len(loader.dataset))]
    names = [f'{Path(info["img_path"]).stem}.png' for info in infos]
    _require(folder, names, [path.name for path in folder.iterdir() if path.is_file()], 'PNG')
    metric.dataset_meta = loader.dataset.metainfo
    for sample in samples_with_label_maps(folder, loader):
        metric.process(None, [sample])
    return metric


def samples_with_label_maps(folder: Path, loader: DataLoader) -> Iterator[dict]:
    """The samples of the test data, `gt_sem_seg` and `pred_sem_seg` in them (1, H, W)."""
    for batch in loader:
        for sample in batch['data_samples']:
            yield _with_label_map(sample.to_dict(), folder)


def _with_label_map(sample: dict, folder: Path) -> dict:
    """A sample of the data set with the prediction of a file; both are (1, H, W)."""
    file = folder / f'{Path(sample["img_path"]).stem}.png'
    try:
        labels = np.asarray(Image.open(file))
    except Exception as error:  # broken files make Pillow raise anything
        raise UserError(f'{file} cannot be read', got=error) from error
    shape = tuple(sample['gt_sem_seg']['data'].shape[-2:])
    if labels.shape != shape:
        raise UserError(f'{file} does not fit its annotation', expected=shape, got=labels.shape)
    labels = torch.from_numpy(labels.astype(np.int64)) - int(sample['reduce_zero_label'])
    return {**sample, 'pred_sem_seg': {'data': labels[None]}}


def _classification_writers(metric: dict, folder: Path, dataset: dict) -> list[dict]:
    prefix = dataset.get('data_prefix') or dataset.get('split', '')
    prefix = prefix['img_path'] if isinstance(prefix, dict) else prefix
    writer = dict(
        type='mmvisattn.ClassificationResults',
        out_file=str(folder / 'results.json'),
        pictures=os.path.join(dataset.get('data_root', ''), prefix),
    )
    return [metric, writer]


def _read_classes(config: dict, folder: Path, loader: DataLoader) -> BaseMetric:
    metric = METRICS.build(config)
    file, dataset = folder / 'results.json', loader.dataset
    # Row by row, for Python's own numbers take eight times the place.
    scores = dict(_load_json(file, partial(_class_row, len(dataset.metainfo['classes']))))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    names = [os.path.relpath(info['img_path'], dataset.img_prefix) for info in infos]
    _require(file, names, scores, 'picture')
    for name, info in zip(names, infos, strict=True):
        gt_label = torch.tensor([info['gt_label']])
        metric.process(None, [{'pred_score': scores[name], 'gt_label': gt_label}])
    return metric


def _class_row(count: int, row: dict) -> tuple[str, torch.Tensor]:
    name, scores = str(row['file']), torch.tensor(row['scores'], dtype=torch.float32)
    if scores.shape != (count,):
        raise ValueError(f'{name} has scores of shape {tuple(scores.shape)} for {count} classes')
    return name, scores


# By library and class; a subclass writes as its base does.
FORMATS = {
    'mmdet.CocoMetric': Format(_coco_writers, _read_boxes),
    'mmdet.CocoPanopticMetric': Format(_coco_writers, _read_panoptic),
    'mmpose.CocoMetric': Format(_coco_writers, _read_keypoints),
    'mmseg.IoUMetric': Format(lambda m, f, _: [{**m, 'output_dir': str(f)}], _read_label_maps),
    'mmpretrain.Accuracy': Format(_classification_writers, _read_classes),
}


def _metrics(cfg: Config) -> list[dict]:
    metrics = cfg.get('test_evaluator') or []
    return list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]


def _format_of(metric: dict, cfg: Config) -> str | None:
    """The name in `FORMATS` of what a metric writes."""
    scope = metric.get('_scope_', cfg.get('default_scope', 'mmengine'))
    with METRICS.switch_scope_and_registry(scope) as metrics:
        cls = metrics.get(metric['type'])
    names = (f'{b.__module__.partition(".")[0]}.{b.__name__}' for b in getattr(cls, '__mro__', ()))
    return next((name for name in names if name in FORMATS), None)


def _partial(folder: str | Path) -> Path:
    """Where files lie until all of them are written: beside the folder, to be renamed at once."""
    return Path(os.path.abspath(folder) + '.partial')


def _move_into(partial: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(folder / path.name, ignore_errors=True)
        path.replace(folder / path.name)
    partial.rmdir()


def _build_coco(config: dict, folder: Path) -> BaseMetric:
    """A metric that finds its own files in the folder, where it would write them."""
    if not config.get('ann_file'):
        raise UserError(f'{config["type"]} has no ann_file, so the truth is not known')
    metric = METRICS.build(_coco_writers(config, folder, {})[0])
    metric.results = [(NO_PREDICTIONS, NO_PREDICTIONS)]
    return metric


def _check_coco_results(file: Path, kind: str, images: dict) -> None:
    content = _load_json(file)
    for number, row in enumerate(content if isinstance(content, list) else [None], 1):
        fault = prediction_fault(row, kind, images)
        if fault:
            raise UserError(
                f'{file} holds no COCO results',
                expected='a list of predictions, each of an image_id',
                got=f'prediction {number}, {fault}',
            )
    unknown = sorted({row['image_id'] for row in content} - set(images))
    if unknown:
        raise UserError(
            f'{file} belongs to another data set',
            expected='ids of pictures in the ann_file of the metric',
            got=f'{len(unknown)} others: {_some(unknown)}',
        )


def _load_json(file: Path, each_row: Callable[[dict], object] | None = None) -> object:
    if not file.is_file():
        raise UserError(
            f'no {file.name} in {file.parent}',
            expected='the folder that tools/test.py CONFIG CHECKPOINT --out FOLDER wrote',
        )
    try:
        return json.loads(file.read_text(encoding='utf-8'), object_hook=each_row)
    except Exception as error:  # a row may hold anything
        raise UserError(f'{file} is no complete json', got=repr(error)) from error


def _require(place: Path, wanted: Iterable, present: Iterable, what: str) -> None:
    wanted, present = list(wanted), set(present)
    missing = [name for name in wanted if name not in present]
    if missing:
        raise UserError(
            f'{place} is not complete',
            expected=f'a {what} for each of {len(wanted)} pictures',
            got=f'{len(missing)} missing: {_some(missing)}',
        )


def _some(names: list) -> str:
    return ', '.join(map(str, names[:SHOWN])) + (' ...' if len(names) > SHOWN else '')
