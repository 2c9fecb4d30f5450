"""What was measured: the records in `docs/results/BENCHMARK/TRAINING`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ...places import ROOT
from ..catalogue import TASKS
from ..records import last_finished, records_in
from ..scores import METRICS, Scores, read_scores, write_record
from ..seeds import Spread
from .benchmarks import BENCHMARKS, Benchmark, Row
from .recipe import require_recipe

RECORDS = ROOT / 'docs' / 'results'  # of a checkout
TEST = 'test'  # the folder of a training's test, in its work dir


@dataclass(frozen=True)
class Measured:
    """A row with its records.

    Attributes:
        row: The row.
        scores: Percentages over the seeds.
        seconds: What each seed took, all its starts together.
        timed: Whether that is all of it: the record of a start that was killed does not say.
        memory: The highest peak of a start in bytes: of the GPU, else of the process.
        device: What they ran on, and in mixed precision as which, each kind once.
    """

    row: Row
    scores: Scores
    seconds: Spread
    timed: bool
    memory: int
    device: str

    @property
    def metric(self) -> str:
        """The name of the score that counts first."""
        return next(iter(self.scores.metrics))

    @property
    def score(self) -> Spread:
        """That score, over the seeds."""
        return self.scores.metrics[self.metric]


def metrics_of(row: Row) -> dict[str, tuple[str, float]]:
    """What counts of a row, as in `METRICS`: by what its config's name begins with."""
    task = next(task for start, task in TASKS.items() if row.config.startswith(f'{start}_'))
    return METRICS[task]


def rows_of(benchmark: Benchmark, folder: Path = RECORDS) -> dict[Row, Measured | None]:
    """All rows of a benchmark, those without a record too.

    Args:
        benchmark: One of `BENCHMARKS`.
        folder: Where all records are.

    Raises:
        UserError: A record that is not of the training that its place stands for.
    """
    return {row: _measured(row, benchmark.tested, folder) for row in benchmark.rows}


def _measured(row: Row, tested: bool, folder: Path) -> Measured | None:
    place = folder / row.name
    scores = read_scores(place, f'docs/results/{row.name}', row.config, metrics_of(row), tested)
    if scores is None:
        return None
    for record in scores.records:
        require_recipe(row, record, place)
    outcomes = [record['outcome'] for record in scores.records]
    return Measured(
        row,
        scores,
        Spread(tuple(outcome['all_seconds'] for outcome in outcomes)),
        all(outcome['all_timed'] for outcome in outcomes),
        max(outcome['highest_memory'] for outcome in outcomes),
        ', '.join(dict.fromkeys(map(_device, scores.records))),
    )


def _device(record: dict) -> str:
    """What a run computed on, and in which numbers, if not in float32."""
    machine, processes = record['machine'], record['run']['world_size']
    threads = machine['threads'] * processes
    kind = machine['gpus'][0] if machine['gpus'] else machine['cpu']
    names = [f'{processes} x {kind}' if machine['gpus'] and processes > 1 else kind]
    if not machine['gpus']:
        names.append(f'{threads} thread{"s" * (threads > 1)}')
    text = record['config']['text']
    if 'Bf16OptimWrapper' in text or "dtype='bfloat16'" in text:
        names.append('bf16')
    elif 'AmpOptimWrapper' in text:
        names.append('fp16')
    return ', '.join(names)


def keep(row: Row, work_dir: Path, seed: int, folder: Path = RECORDS) -> list[Path]:
    """Copy the records of a seed that has finished, and been tested if that is what counts.

    Args:
        row: What was trained.
        work_dir: Of the seed; its test ran in `TEST` in there.
        seed: Its number.
        folder: Where all records are.

    Returns:
        The copies.

    Raises:
        UserError: It has not finished, or was another training than the row.
    """
    to_test, trained = benchmark_of(row).tested, last_finished(work_dir, 'train')
    tested = last_finished(work_dir / TEST, 'test') if to_test else None
    if trained is None or (to_test and tested is None):
        raise UserError(f'no {"test" if trained else "training"} has finished in {work_dir}')
    if tested and not _is_of(tested, trained):
        raise UserError(f'{work_dir / TEST} holds the test of another checkpoint than the last')
    require_recipe(row, trained, work_dir)
    starts = [r['outcome'] for r in records_in(work_dir) if r['run']['task'] == 'train']
    peaks = [start['peak_memory'] for start in starts if 'peak_memory' in start]
    trained['outcome'] |= {
        'starts': len(starts),
        'all_seconds': sum(start.get('wall_seconds', 0) for start in starts),
        'all_timed': all('wall_seconds' in start for start in starts),
        'highest_memory': max(peak['gpu'] or peak['process'] for peak in peaks),
    }
    copies = {folder / row.name / f'seed_{seed}.json': trained}
    if tested:
        copies[folder / row.name / f'test_{seed}.json'] = tested
    for path, record in copies.items():
        write_record(record, path)
    return list(copies)


def _is_of(tested: dict, trained: dict) -> bool:
    """Whether a test was of the checkpoint that a training ended with."""
    weights = [w for w in tested['weights'] if w['purpose'] == 'test']
    return [w['written_by']['iter'] for w in weights] == [trained['outcome']['iter']]


def benchmark_of(row: Row) -> Benchmark:
    """The benchmark whose folder holds a row's records."""
    return BENCHMARKS[row.name.partition('/')[0]]
