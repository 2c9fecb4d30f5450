"""The metrics of one experiment over several seeds: mean and standard deviation."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from ..engine.record import NAME
from ..errors import UserError
from .records import records_in

SCALARS = 'vis_data/scalars.json'  # what MMEngine logs, in each log folder
NEVER_RAN = 'it never ran'
NOTHING_FOUND = {'train': 'it validated nothing', 'test': 'it was not tested'}
NOT_METRICS = {'step', 'time', 'data_time', 'iter', 'epoch'}


@dataclass
class SeedRun:
    """What one work dir holds of an experiment.

    Attributes:
        name: Of the folder.
        seed: Its seed, if a record says.
        config: The sha256 of its config, if a record says.
        step: When its metrics were computed: epochs or iterations; None for a test.
        metrics: Numbers by their names, of the last validation, or of a test.
        problem: Why it has no result; None if it has.
    """

    name: str
    seed: int | None = None
    config: str | None = None
    step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds.

    Attributes:
        values: One for each seed that has it.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return mean(self.values)

    @property
    def std(self) -> float | None:
        """Their sample standard deviation (over n - 1); None for a single one."""
        return stdev(self.values) if len(self.values) > 1 else None


def read_seeds(folders: Iterable[str | Path], task: str = 'train') -> list[SeedRun]:
    """The runs in these folders: work dirs, or folders of work dirs, one for each seed.

    Args:
        folders: The folders.
        task: 'train' for what trainings validated last, 'test' for what tests found.

    Raises:
        UserError: A folder that is not there, or no run in any.
    """
    work_dirs = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f'no folder {folder}')
        work_dirs += work_dirs_in(folder)
    runs = [_read_run(work_dir, task) for work_dir in work_dirs]
    if not any(run.metrics or run.problem != NEVER_RAN for run in runs):
        raise UserError(
            f'no run in {", ".join(map(str, folders))}',
            expected='work dirs of runs, or a folder of them: DIR/seed_0, DIR/seed_1, ...',
        )
    _require_one_length(runs)
    return runs


def work_dirs_in(folder: Path) -> list[Path]:
    """The folder itself if it is a work dir; else those in it, seed_10 after seed_9.

    What lies beside them, such as predictions, is left out.
    """
    below = sorted((p for p in folder.iterdir() if p.is_dir()), key=_in_order)
    if not below or any(map(is_log_dir, below)):
        return [folder]
    return [p for p in below if not _lies_beside(p)] or below


def summarize(runs: Iterable[SeedRun]) -> dict[str, Spread]:
    """Each metric over the runs that have a result."""
    metrics: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.metrics.items() if run.problem is None else ():
            metrics.setdefault(name, []).append(value)
    return {name: Spread(tuple(values)) for name, values in metrics.items()}


def describe_seeds(runs: list[SeedRun]) -> Iterator[str]:
    """The table as lines of at most 80 columns, then what is odd about the runs."""
    yield f'{"metric":<32}{"mean +- std":>23}{"n":>4}{"lowest":>10}{"highest":>10}'
    for name, spread in summarize(runs).items():
        std = 'no std' if spread.std is None else f'{spread.std:.4g}'
        yield (
            f'{name[:32]:<32}{f"{spread.mean:.5g} +- {std}":>23}{len(spread.values):>4}'
            f'{min(spread.values):>10.5g}{max(spread.values):>10.5g}'
        )
    for run in runs:
        if run.problem:
            yield f'without a result: {run.name}: {run.problem}'
    good = [run for run in runs if run.problem is None]
    seeds = Counter(run.seed for run in good if run.seed is not None)
    for seed, count in seeds.items():
        if count > 1:
            names = ', '.join(run.name for run in good if run.seed == seed)
            yield f'note: not independent, the same seed {seed}: {names}'
    if len({run.config for run in good if run.config}) > 1:
        yield 'note: the configs differ; tools/analysis_tools/diff_records.py says in what'


def as_json(runs: list[SeedRun]) -> dict:
    """The summary as JSON holds it."""
    return {
        'metrics': {
            name: {'mean': s.mean, 'std': s.std, 'n': len(s.values), 'values': s.values}
            for name, s in summarize(runs).items()
        },
        'runs': [vars(run) for run in runs],
    }


def _read_run(work_dir: Path, task: str) -> SeedRun:
    """What a work dir holds; a resumed run left several log folders, of which the last counts."""
    records = [r for r in records_in(work_dir) if r['run']['task'] == task]
    run = SeedRun(work_dir.name)
    if records:
        newest = records[-1]
        run.seed, run.config = newest['run']['seed'], newest['config']['sha256']
        run.problem = _unfinished(newest['outcome'])
    for outcome in [record['outcome'] for record in reversed(records)]:
        if outcome.get('metrics'):
            run.metrics, run.step = _numbers(outcome['metrics']), outcome.get('step')
            break
    else:
        if task == 'train':
            run.metrics, run.step = _logged(work_dir)
    if not run.metrics and run.problem is None:
        ran = any(map(is_log_dir, work_dir.iterdir()))
        run.problem = NOTHING_FOUND[task] if ran else NEVER_RAN
    return run


def _unfinished(outcome: dict) -> str | None:
    """How a run ended that did not finish."""
    if outcome['status'] == 'finished':
        return None
    where = f' at step {outcome["iter"]}' if 'iter' in outcome else ''
    why = outcome.get('error') or outcome.get('signal')
    text = 'running, or killed' if outcome['status'] == 'running' else outcome['status']
    return f'{text}{where}' + (f': {why}' if why else '')


def _logged(work_dir: Path) -> tuple[dict[str, float], int | None]:
    """The last validation that MMEngine logged: a run need not have a record."""
    for path in sorted(work_dir.glob(f'*/{SCALARS}'), reverse=True):
        for line in reversed(path.read_text().splitlines()):
            try:
                row = json.loads(line)
            except ValueError:  # cut off by a kill
                continue
            if 'lr' not in row and 'loss' not in row:
                return _numbers(row), row.get('step')
    return {}, None


def _numbers(metrics: dict) -> dict[str, float]:
    kept = {name: value for name, value in metrics.items() if name not in NOT_METRICS}
    return {n: v for n, v in kept.items() if isinstance(v, (int, float))}


def _require_one_length(runs: list[SeedRun]) -> None:
    """Leave out runs whose last validation came earlier than that of others."""
    last = max((run.step for run in runs if run.step and run.problem is None), default=0)
    for run in runs:
        if run.problem is None and run.step is not None and run.step < last:
            run.problem = f'its last validation is of step {run.step}, that of others of {last}'


def is_log_dir(folder: Path) -> bool:
    """Whether a run logged into a folder."""
    return (folder / NAME).is_file() or (folder / SCALARS).is_file()


def _lies_beside(folder: Path) -> bool:
    """Whether a folder has files, and none of a run: a seed that never ran has an empty one."""
    inside = list(folder.iterdir())
    of_run = any(path.suffix == '.py' or is_log_dir(path) for path in inside)
    return not of_run and any(path.is_file() for path in inside)


def _in_order(path: Path) -> list:
    """seed_10 after seed_9."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.name)]
