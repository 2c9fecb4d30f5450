"""Scores of our own: those whose runs' records lie in `docs/model_zoo/CONFIG/seed_N.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..atomic import write_text
from ..errors import UserError
from ..places import ROOT
from .catalogue import Entry
from .records import last_finished, read_record
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
        records: Of the trainings, one for each seed.
    """

    folder: str
    metrics: dict[str, Spread]
    seeds: tuple[int, ...]
    steps: int | None
    data: frozenset[tuple[str, str]]
    records: tuple[dict, ...] = field(repr=False)


def scores_of(entry: Entry, folder: Path = RECORDS) -> Scores | None:
    """The scores of a config, or None if there is no record of it.

    Args:
        entry: The config.
        folder: Where the records of all configs are.

    Raises:
        UserError: A record that is none, of another config, seed or length than its place says,
            or of a run that did not finish.
    """
    place, shown = folder / entry.name, f'docs/model_zoo/{entry.name}'
    scores = read_scores(place, shown, entry.name, METRICS[entry.task])
    if scores:
        configs = [record['config']['sha256'] for record in scores.records]
        _require_one(place, scores.seeds, 'config', configs)
    return scores


def read_scores(
    place: Path,
    shown: str,
    config: str,
    metrics: dict[str, tuple[str, float]],
    tested: bool = False,
) -> Scores | None:
    """The scores whose records lie in a folder, or None if there are none.

    Args:
        place: The folder: `seed_N.json` is the record of a training, `test_N.json` that of its
            test.
        shown: The folder as pages name it.
        config: The name of their config.
        metrics: What counts, as in `METRICS`.
        tested: Whether the tests' metrics count; else those that trainings ended with.

    Raises:
        UserError: A record that is none, of another config, seed, length or data than its place
            says, or of a run that did not finish.
    """
    paths = {_seed(path): path for path in place.glob('seed_*.json')}
    if not paths:
        return None
    paths = dict(sorted(paths.items()))
    trained = {seed: _fitting(path, 'train', config, seed) for seed, path in paths.items()}
    ended = trained
    if tested:
        ended = {
            seed: _fitting(place / f'test_{seed}.json', 'test', config, None) for seed in paths
        }
    for seed, record in ended.items():
        _require_metrics(place, seed, record, metrics)
    records = list(trained.values())
    _require_one(place, paths, 'number of steps', [r['outcome'].get('step') for r in records])
    _require_one(place, paths, 'data', [_data(record) for record in records])
    _require_one(place, paths, 'data to evaluate', [_data(record) for record in ended.values()])
    return Scores(
        folder=shown,
        metrics={
            name: Spread(tuple(factor * r['outcome']['metrics'][key] for r in ended.values()))
            for key, (name, factor) in metrics.items()
        },
        seeds=tuple(paths),
        steps=records[0]['outcome'].get('step'),
        data=_data(records[0]),
        records=tuple(records),
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
        record = last_finished(run, 'train')
        if record:
            name = Path(record['config']['path']).stem
            copies.append(folder / name / f'seed_{record["run"]["seed"]}.json')
            write_record(record, copies[-1])
    if not copies:
        raise UserError(f'no training has finished in {work_dir}', expected='a run with a record')
    return copies


def write_record(record: dict, path: Path) -> None:
    """Keep a record in the repository, its folder with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_without_place(record), indent=1) + '\n')


def _without_place(record: dict) -> dict:
    """A record without the machine's name, and with paths from the folder it was started in."""
    folder = record['run'].get('folder')
    if folder:
        text = json.dumps(record).replace(f'{folder}/', '').replace(f'"{folder}"', '"."')
        record = json.loads(text)
    return {**record, 'machine': {k: v for k, v in record['machine'].items() if k != 'host'}}


def _fitting(path: Path, task: str, config: str, seed: int | None) -> dict:
    """A record that is what its place stands for; a test has no seed."""
    record = read_record(path)
    run = record['run']
    expected = {'task': task, 'config': config, 'seed': seed, 'status': 'finished'}
    got = {
        'task': run['task'],
        'config': Path(record['config']['path']).stem,
        'seed': run['seed'] if task == 'train' else None,
        'status': record['outcome']['status'],
    }
    wrong = [key for key in expected if expected[key] != got[key]]
    if wrong:
        raise UserError(
            f'{path} is not the record of a run that its place stands for',
            expected=', '.join(f'{key} {expected[key]}' for key in wrong),
            got=', '.join(f'{key} {got[key]}' for key in wrong),
        )
    return record


def _require_metrics(place: Path, seed: int, record: dict, metrics: dict) -> None:
    found = record['outcome'].get('metrics') or {}
    if not set(metrics) <= set(found):
        raise UserError(
            f'{place}: the {record["run"]["task"]} of seed {seed} lacks metrics',
            expected=', '.join(metrics),
            got=', '.join(found) or 'none',
        )


def _require_one(place: Path, seeds: Iterable[int], what: str, values: list) -> None:
    if len(set(values)) > 1:
        found = zip(seeds, values, strict=True)
        raise UserError(
            f'the seeds in {place} are not of one {what}',
            got=', '.join(f'seed_{seed}: {value}' for seed, value in found),
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
