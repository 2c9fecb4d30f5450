"""Results in the formats of the data sets: what tools/test.py --out writes, of any pictures.

The metrics of the config write the files, as in a test (see `mmvisattn.engine.results`). Pictures
of the test set keep its numbers, others are numbered after them; `pictures.json` says which is
which, and what the categories' numbers mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.logging import MMLogger
from mmengine.registry import METRICS

from ..atomic import write_text
from ..engine.results import complete_or_absent, write_predictions
from .inferencer import Inferencer
from .results import Result
from .sources import Names

# What a metric that writes is told where.
PLACES = ('outfile_prefix', 'output_dir', 'out_file')
# Tasks of which each picture gets a PNG, named after it.
MAPS = ('segmentation', 'panoptic')
# COCO's numbers of its 80 things and 53 kinds of stuff, in the order of mmdet's classes.
COCO_IDS = [
    *sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}),
    *(92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147),
    *(148, 149, 151, 154, 155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181),
    *range(184, 201),
]


class Exporter:
    """Collects results and writes them; see `exported`, which makes one.

    Args:
        inferencer: What makes the results.
        folder: Where the files are to be.
        scratch: A folder that is there as long as this is.
    """

    def __init__(self, inferencer: Inferencer, folder: Path, scratch: Path) -> None:
        self._inferencer = inferencer
        self._known = _pictures_of(inferencer)
        self._next = max(self._known.values(), default=0) + 1
        self._images: list[dict] = []
        self._names = Names()
        self._persons = 0
        self._categories = _categories(inferencer)
        index = scratch / 'categories.json'
        index.write_text(json.dumps(self._index()))
        cfg = deepcopy(inferencer.cfg)
        write_predictions(cfg, str(folder))
        with inferencer.scope(), _quietly():
            self._metrics = [
                METRICS.build(_without_truth(metric, str(index)))
                for metric in cfg.test_evaluator
                if any(metric.get(place) for place in PLACES)
            ]
        for metric in self._metrics:
            metric.dataset_meta = inferencer.meta

    def add(self, result: Result) -> None:
        """Take the result of one picture; label maps and panoptic PNGs are written at once."""
        height, width = result.picture.shape[:2]
        file = result.path or f'{result.name}.png'
        number = self._known.get(_resolved(result.path), self._next)
        self._next = max(self._next, number + 1)
        image = {'id': number, 'file_name': file, 'width': width, 'height': height}
        if result.task in MAPS:
            file = image['map'] = f'{self._names.own(Path(file).stem)}.png'
        self._images.append(image)
        for sample in result.samples:
            self._persons += 1
            values = {
                **deepcopy(sample).to_dict(),  # mmdet marks what is no segment in place
                'id': self._persons,
                'img_id': number,
                'img_path': file,
                'ori_shape': (height, width),
                'reduce_zero_label': getattr(self._inferencer.dataset, 'reduce_zero_label', False),
            }
            for metric in self._metrics:
                metric.process(None, [values])

    def finish(self, folder: Path) -> None:
        """Write what is written at once, into the folder that `complete_or_absent` fills."""
        with _quietly():
            for metric in self._metrics:
                if metric.results or not hasattr(metric, 'outfile_prefix'):
                    metric.compute_metrics(metric.results)
                else:  # mmpose's cannot write that nobody was found
                    Path(f'{metric.outfile_prefix}.keypoints.json').write_text('[]')
        write_text(folder / 'pictures.json', json.dumps(self._index()))

    def _index(self) -> dict[str, list]:
        """Pictures and categories, as COCO's annotations begin."""
        return {'images': self._images, 'categories': self._categories, 'annotations': []}


@contextmanager
def exported(inferencer: Inferencer, folder: str | Path) -> Iterator[Exporter]:
    """Write results into a folder, which appears, or takes them in, once all are there.

    Examples:
        >>> with exported(inferencer, 'predictions') as export:
        ...     for result in inferencer('pictures/'):
        ...         export.add(result)
    """
    folder = Path(folder)
    with TemporaryDirectory() as scratch:
        exporter = Exporter(inferencer, folder, Path(scratch))
        with complete_or_absent(str(folder)) as partial:
            yield exporter
            exporter.finish(partial)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what pycocotools prints, and what metrics log of folders about to be renamed."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    try:
        with redirect_stdout(None):
            yield
    finally:
        logger.setLevel(level)


def _without_truth(metric: dict, index: str) -> dict:
    """The config of a metric that writes and evaluates nothing."""
    if 'outfile_prefix' in metric:
        return {**metric, 'ann_file': index, 'format_only': True}
    return {**metric, 'format_only': True} if 'output_dir' in metric else metric


def _pictures_of(inferencer: Inferencer) -> dict[str, int]:
    """The numbers of the test set's pictures, by their files."""
    content = _annotations(inferencer)
    folder = (inferencer.dataset.data_prefix or {}).get('img', '')
    return {
        _resolved(Path(folder, image['file_name'])): image['id']
        for image in content.get('images', ())
    }


def _categories(inferencer: Inferencer) -> list[dict]:
    """The data set's categories in the order of the labels, with the numbers of its annotations.

    Without annotations COCO's classes have COCO's numbers, and others those of their places.
    """
    classes = inferencer.classes
    content = _annotations(inferencer)
    known = {one['name']: one for one in content.get('categories', ())}
    if set(classes) <= set(known):
        return [known[name] for name in classes]
    of_coco = dict(zip(inferencer.dataset.METAINFO.get('classes', ()), COCO_IDS, strict=False))
    numbers = of_coco if set(classes) <= set(of_coco) else {n: i for i, n in enumerate(classes, 1)}
    things = set(inferencer.meta.get('thing_classes', classes))
    return [{'id': numbers[name], 'name': name, 'isthing': int(name in things)} for name in classes]


def _annotations(inferencer: Inferencer) -> dict:
    """The test set's annotations in COCO's layout, if they are on this machine."""
    file = str(getattr(inferencer.dataset, 'ann_file', '') or '')
    if not file.endswith('.json') or not Path(file).is_file():
        return {}
    return json.loads(Path(file).read_text())


def _resolved(path: str | Path | None) -> str | None:
    return None if path is None else str(Path(path).resolve())
