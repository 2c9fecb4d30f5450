"""`docs/results.md`: every row of every benchmark, with its record or without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path

from .benchmarks import BENCHMARKS, Row
from .measured import RECORDS, Measured, metrics_of, rows_of

GIB = 2**30
INTRODUCTION = """\
Written by `python tools/analysis_tools/write_pages.py` from the records in `docs/results`; a test
compares them. A number is the mean over its seeds, with the standard deviation (over n - 1) where
there are several, and leads to the record of the first: config, command, seed, revision, versions,
device, time and peak memory. **A row without a number has no record**: nearly always, what it
takes was not at hand. Data and recipes are small, and so the order of networks is that of this
budget alone.

The data: [data.md](data.md#small-public-data-sets). One command trains a row and keeps its record,
goes on where it was interrupted, and first trains what the row starts from; the name of a
benchmark stands for all of its rows:

<!-- tested: tests/test_results.py::test_a_row_is_trained_tested_and_kept -->
```sh
python tools/reproduce.py imagenette/van_b0_5 --seeds 0 1 2
```

Where the device says bf16, the command had `--amp bf16`, too. On a CPU other work ran beside.
"""
UNITS = 'hours on the device named, mean of the seeds; GiB: peak of the GPU, else of the process'


def markdown(folder: Path = RECORDS) -> str:
    """The text of docs/results.md.

    Raises:
        UserError: A record that is not of the training that its place stands for.
    """
    parts = ['# Results on public data\n', INTRODUCTION]
    for name in BENCHMARKS:
        parts += _section(name, folder)
    return '\n'.join(parts)


def _section(name: str, folder: Path) -> Iterator[str]:
    benchmark = BENCHMARKS[name]
    found = rows_of(benchmark, folder)
    yield f'## {benchmark.title}\n'
    yield f'{benchmark.about}\n'
    if any(found.values()) and benchmark.drawn:
        yield f'![Scores of {benchmark.title} against time and parameters](results/{name}.svg)\n'
    if any(found.values()):
        yield f'Time: {UNITS}.\n'
    for group in dict.fromkeys(row.group for row in benchmark.rows):
        rows = {row: result for row, result in found.items() if row.group == group}
        yield f'### {group}\n'
        yield from _table(rows)
        if group in benchmark.published:
            whose, score = benchmark.published[group]
            yield f'\nPublished: {score} ({whose}). {_verdict(rows, score)}\n'
        if any(row.reported for row in rows):
            yield f'\n{_order(rows)}\n'
        yield ''


def _table(rows: dict[Row, Measured | None]) -> Iterator[str]:
    names = list(dict.fromkeys(n for row in rows for n, _ in metrics_of(row).values()))
    reported = ['paper'] * any(row.reported for row in rows)
    yield _line('', *names, *reported, 'seeds', 'hours', 'GiB', 'device', 'row')
    yield _line('---', *['---:'] * len(names + reported), '---', '---:', '---:', '---', '---')
    for row, result in rows.items():
        paper = [f'{row.reported}' if row.reported else ''] * len(reported)
        if result is None:
            cells = [*[''] * len(names), *paper, 'no record', '', '', '']
        else:
            cells = [*_scores(result, names), *paper, ', '.join(map(str, result.scores.seeds)),
                     _hours(result), f'{result.memory / GIB:.1f}',
                     result.device]  # fmt: skip
        yield _line(row.label, *cells, f'`{row.name}`')


def _hours(result: Measured) -> str:
    return f'{"" if result.timed else "over "}{result.seconds.mean / 3600:.2f}'


def _scores(result: Measured, names: Iterable[str]) -> Iterator[str]:
    link = f'{result.scores.folder.removeprefix("docs/")}/seed_{result.scores.seeds[0]}.json'
    for name in names:
        spread = result.scores.metrics[name]
        deviation = '' if spread.std is None else f' ± {spread.std:.2f}'
        yield f'[{spread.mean:.2f}{deviation}]({link})'


def _verdict(rows: dict[Row, Measured | None], published: float) -> str:
    run = [result for result in rows.values() if result]
    if not run:
        return 'Nothing of ours has been run.'
    best = max(run, key=lambda result: result.score.mean)
    lead = best.score.mean - published
    side = 'above' if lead > 0 else 'below'
    count = len(best.scores.seeds)
    seeds = 'one seed' if count == 1 else f'mean of {count} seeds'
    return f'The best of ours, {best.row.label} ({seeds}), is {abs(lead):.2f} {side} it.'


def _order(rows: dict[Row, Measured | None]) -> str:
    """Of how many pairs, both run and told apart by the paper, the order is the paper's."""
    run = [(r.reported, result.score.mean) for r, result in rows.items() if result and r.reported]
    pairs = [(a, b) for a, b in combinations(run, 2) if a[0] != b[0]]
    if not pairs:
        return 'Whether the order of the paper holds is not known: too little was run.'
    same = sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs)
    return f'The order is that of the paper in {same} of the {len(pairs)} pairs that were run.'


def _line(*cells: str) -> str:
    return f'| {" | ".join(cells)} |'
