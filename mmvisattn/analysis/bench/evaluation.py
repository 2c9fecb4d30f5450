"""`eval`: metrics and what prepares their input, beside the libraries' own."""

from __future__ import annotations

import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import torch
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from mmengine.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ...datasets.demo import make_data
from .measure import Bench, Contest, Peer
from .report import Report
from .tasks import BATCH, TASKS, build, config_of

CLASSES = 150
SIZE = (512, 683)  # of a usual picture of ADE20K
LARGE = (1536, 2048)
PICTURES = {True: (100,), False: (2000, 5000)}
TRUTHS, DETECTIONS, CATEGORIES = 7, 50, 80  # in a picture, in a picture, in all: as in COCO
SIDE = 640


def report(bench: Bench) -> Report:
    """Measure metrics."""
    found = Report('eval')
    with tempfile.TemporaryDirectory() as folder:
        for contest in _contests(bench, Path(folder)):
            found.rows.extend(bench.rows(contest))
    return found


def _contests(bench: Bench, folder: Path) -> Iterator[Contest]:
    size = bench.size or SIZE
    shape = f'{CLASSES} classes, {size[0]}x{size[1]}'
    if bench.wanted(f'mIoU, {shape}'):
        yield Contest(f'mIoU, {shape}', 'one picture', list(_miou(bench, size)), images=1)
    for size in [bench.size or SIZE] + [LARGE] * (not bench.short):
        title = f'Label maps, {CLASSES} classes, {size[0]}x{size[1]}'
        if bench.wanted(title):
            peers = list(_label_maps(bench, size, folder / 'ade20k'))
            yield Contest(title, f'{BATCH} pictures', peers, images=BATCH)
    for count in PICTURES[bench.short]:
        for kind in ('bbox', 'segm'):
            title = f'COCO AP, {kind}, {count} pictures'
            if bench.wanted(title):
                peers = list(_coco(count, kind, folder))
                yield Contest(title, 'all pictures', peers, images=count, in_torch=False)


def _miou(bench: Bench, size: tuple[int, int]) -> Iterator[Peer]:
    """The metrics' share of a picture: random labels, nearly all predicted right."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(CLASSES, (1, *size), generator=generator)
    wrong = torch.rand(label.shape, generator=generator) < 0.2
    predicted = torch.where(wrong, label.flip(1), label)
    maps = dict(pred_sem_seg=predicted, gt_sem_seg=label)
    sample = {name: dict(data=labels.to(bench.device)) for name, labels in maps.items()}
    for name in ('mmseg.IoUMetric', 'mmvisattn.IoUMetric'):
        metric = METRICS.build(dict(type=name))
        metric.dataset_meta = dict(classes=[str(i) for i in range(CLASSES)])

        def count(metric: object = metric) -> None:
            metric.process({}, [sample])
            metric.results.clear()

        yield Peer(name, count, chosen=name.startswith('mmvisattn'))


def _label_maps(bench: Bench, size: tuple[int, int], data: Path) -> Iterator[Peer]:
    """From the logits of a head, at a quarter of the size, to labels: no network."""
    task = TASKS[0]
    make_data(task.layout, data, num_train=BATCH, num_val=1)
    cfg = config_of(task, 'van_b0', size, data)
    cfg.model.backbone.init_cfg = None
    small = [-(-length // 4) for length in size]
    logits = torch.randn(BATCH, CLASSES, *small, device=bench.device)
    for name in ('mmseg.EncoderDecoder', 'mmvisattn.EncoderDecoder'):
        cfg.model.type = name
        model, batch = build(cfg)
        model.to(bench.device).eval()
        model.extract_feat = lambda inputs: inputs
        model.decode_head.forward = lambda features: logits
        prepared = model.data_preprocessor(batch)

        def predict(model: torch.nn.Module = model, prepared: dict = prepared) -> object:
            with torch.no_grad():
                return model.predict(**prepared)

        yield Peer(name, predict, chosen=name.startswith('mmvisattn'))


def _coco(count: int, kind: str, folder: Path) -> Iterator[Peer]:
    """Random boxes and what is found of them, from results in memory to AP."""
    truth, results = synthetic_coco(count)
    file = folder / f'{count}.json'
    file.write_text(json.dumps(truth))
    for name, dataset, evaluation in (
        ('pycocotools', COCO, COCOeval),
        ('faster-coco-eval', FasterCOCO, COCOeval_faster),
    ):
        with redirect_stdout(io.StringIO()):
            annotations = dataset(str(file))
        run = partial(average_precision, annotations, results, kind, evaluation)
        yield Peer(name, run, chosen=name == 'faster-coco-eval')


def average_precision(
    annotations: COCO, results: list[dict], kind: str, evaluation: Callable
) -> float:
    """AP of results by pycocotools or what has its interface."""
    with redirect_stdout(io.StringIO()):
        found = annotations.loadRes([dict(one) for one in results])
        evaluator = evaluation(annotations, found, kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return float(evaluator.stats[0])


def synthetic_coco(count: int) -> tuple[dict, list[dict]]:
    """Annotations of pictures, and as many results as a detector has: some right, most wrong.

    Masks are the octagons in the boxes.
    """
    draw = random.Random(0)
    truths, results = [], []
    for picture in range(count):
        own = [_annotation(draw, picture, _box(draw)) for _ in range(TRUTHS)]
        truths += own
        for _ in range(DETECTIONS):
            near = draw.choice(own)
            box = [v * draw.uniform(0.9, 1.1) for v in near['bbox']]
            found = _annotation(draw, picture, box if draw.random() < 0.3 else _box(draw))
            results.append(found | dict(category_id=near['category_id'], score=draw.random()))
    for number, one in enumerate(truths, 1):
        one['id'] = number
    images = [dict(id=i, width=SIDE, height=SIDE, file_name=f'{i}.jpg') for i in range(count)]
    categories = [dict(id=i, name=str(i)) for i in range(CATEGORIES)]
    return dict(images=images, annotations=truths, categories=categories), results


def _box(draw: random.Random) -> list[float]:
    width, height = (draw.uniform(8, SIDE / 3) for _ in range(2))
    return [draw.uniform(0, SIDE - width), draw.uniform(0, SIDE - height), width, height]


def _annotation(draw: random.Random, picture: int, box: list[float]) -> dict:
    x, y, w, h = box
    corners = ((1, 0), (2, 0), (3, 1), (3, 2), (2, 3), (1, 3), (0, 2), (0, 1))
    polygon = [v for i, j in corners for v in (x + i * w / 3, y + j * h / 3)]
    return dict(
        image_id=picture, category_id=draw.randrange(CATEGORIES), bbox=box, area=w * h,
        iscrowd=0, segmentation=[polygon],
    )  # fmt: skip
