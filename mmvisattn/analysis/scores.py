"""Scores of our own: those whose runs' records lie in `docs/model_zoo/CONFIG/seed_N.json`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..atomic import write_text
from ..errors import UserError
from ..places import ROOT
from .catalogue import Entry
from .records import read_record, records_in
from .seeds import Spread

RECORDS = ROOT / 'docs' / 'model_zoo'  # of a checkout
# The metrics of a task: their names in a record, in the tables, and what makes them percentages.
METRICS = {
    'Semantic Segmentation': {'mIoU': ('mIoU', 1)},
    'Object Detection': {
        'coco/bbox_mAP': ('box AP', 100),
        'coco/bbox_mAP_50': ('box AP50', 100),
    },
    'Instance Segmentation': {
        'coco/bbox_mAP': ('box AP', 100),
        'coco/segm_mAP': ('mask AP', 100),
    },
    'Panoptic Segmentation': {'coco_panoptic/PQ': ('PQ', 1)},
    'Body 2D Keypoint': {'coco/AP': ('AP', 100)},
    'Image Classification': {'accuracy/top1': ('Top 1 Accuracy', 1)},
}


@dataclass(frozen=True)
class Scores:
    """What the runs of a config reached.

    Attributes:
        folder: Where their records are, from the root of the project.
        metrics: Percentages over the seeds, by OpenMMLab's names.
        seeds: Theirs, in order.
        steps: After how many epochs or iterations.
        data: What they were trained on: a checksum of the annotations for each part.
    """

    folder: str
    metrics: dict[str, Spread]
    seeds: tuple[int, ...]
    steps: int | None
    data: frozenset[tuple[str, str]]


def scores_of(entry: Entry, folder: Path = RECORDS) -> Scores | None:
    """The scores of a config, or None if there is no record of it.

    Args:
        entry: The config.
        folder: Where the records of all configs are.

    Raises:
        UserError: A record that is none, of another config, seed or length than its place says,
            or of a run that did not finish.
    """
    paths = sorted((folder / entry.name).glob('seed_*.json'), key=_seed)
    if not paths:
        return None
    records = [read_record(path) for path in paths]
    for path, record in zip(paths, records, strict=True):
        _require_fit(entry, path, record)
    _require_one(paths, 'config', [record['config']['sha256'] for record in records])
    _require_one(paths, 'number of steps', [r['outcome'].get('step') for r in records])
    _require_one(paths, 'data', [_data(record) for record in records])
    return Scores(
        folder=f'docs/model_zoo/{entry.name}',
        metrics={
            name: Spread(tuple(factor * r['outcome']['metrics'][key] for r in records))
            for key, (name, factor) in METRICS[entry.task].items()
        },
        seeds=tuple(map(_seed, paths)),
        steps=records[0]['outcome'].get('step'),
        data=_data(records[0]),
    )


def keep(work_dir: Path, folder: Path = RECORDS) -> list[Path]:
    """Copy the newest records of trainings to where scores are read from, if they have finished.

    Args:
        work_dir: Of one training, or a folder of them (`seed_0`, `seed_1`, ...).
        folder: Where the records of all configs are.

    Returns:
        The copies.

    Raises:
        UserError: No training finished there.
    """
    copies = []
    for run in (work_dir, *sorted(path for path in work_dir.glob('seed_*') if path.is_dir())):
        trained = [record for record in records_in(run) if record['run']['task'] == 'train']
        if trained and trained[-1]['outcome']['status'] == 'finished':
            record = _without_place(trained[-1])
            name = Path(record['config']['path']).stem
            copies.append(folder / name / f'seed_{record["run"]["seed"]}.json')
            copies[-1].parent.mkdir(parents=True, exist_ok=True)
            write_text(copies[-1], json.dumps(record, indent=1) + '\n')
    if not copies:
        raise UserError(f'no training has finished in {work_dir}', expected='a run with a record')
    return copies


def _without_place(record: dict) -> dict:
    """A record without the machine's name, and with paths from the folder it was started in."""
    folder = record['run'].get('folder')
    if folder:
        text = json.dumps(record).replace(f'{folder}/', '').replace(f'"{folder}"', '"."')
        record = json.loads(text)
    return {**record, 'machine': {k: v for k, v in record['machine'].items() if k != 'host'}}


def _require_fit(entry: Entry, path: Path, record: dict) -> None:
    outcome, run = record['outcome'], record['run']
    metrics = METRICS[entry.task]
    expected = {
        'task': 'train',
        'config': entry.name,
        'seed': _seed(path),
        'status': 'finished',
        'metrics': sorted(metrics),
    }
    got = {
        'task': run['task'],
        'config': Path(record['config']['path']).stem,
        'seed': run['seed'],
        'status': outcome['status'],
        'metrics': sorted(set(metrics) & set(outcome.get('metrics') or ())),
    }
    wrong = [key for key in expected if expected[key] != got[key]]
    if wrong:
        raise UserError(
            f'{path} is not the record of a run that its place stands for',
            expected=', '.join(f'{key} {expected[key]}' for key in wrong),
            got=', '.join(f'{key} {got[key]}' for key in wrong),
        )


def _require_one(paths: list[Path], what: str, values: list) -> None:
    if len(set(values)) > 1:
        raise UserError(
            f'the seeds in {paths[0].parent} are not of one {what}',
            got=', '.join(f'{path.stem}: {v}' for path, v in zip(paths, values, strict=True)),
            do='python tools/analysis_tools/diff_records.py shows the difference of two',
        )


def _data(record: dict) -> frozenset[tuple[str, str]]:
    found = (record['data'] or {}).items()
    return frozenset((place, entry['sha256']) for place, entry in found if 'sha256' in entry)


def _seed(path: Path) -> int:
    number = re.fullmatch(r'seed_(\d+)', path.stem)
    if number is None:
        raise UserError(f'{path} has no seed in its name', expected='seed_0.json, seed_1.json, ...')
    return int(number[1])
