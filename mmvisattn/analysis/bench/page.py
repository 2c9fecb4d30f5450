"""`docs/performance.md`, of the results in docs/performance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..published import CONFIGS
from .report import COLUMNS, Report, cells, contests, growth_points, read_json

RESULTS = CONFIGS.parent / 'docs' / 'performance'  # of a checkout

INTRODUCTION = """\
Written by `python tools/analysis_tools/write_pages.py` from the files in `docs/performance`. This
writes one of them:

<!-- tested: tests/test_benchmark.py::test_the_tool_writes_json_and_a_plot -->
```sh
python tools/analysis_tools/benchmark.py op --json docs/performance/NAME_op.json
```

and so do `backbone`, `train`, `infer`, `data`, `eval` and `export`;
`--device cuda --dtype bf16` on a GPU. `make bench` runs a short version of all on one core, and
writes into `work_dirs/bench`.

Peers take turns in one process, after a warm-up. A time is the median of the turns, beside their
quartiles. `x` is how many times as fast as the first of its table a peer is: the median, lowest and
highest of the turns, each compared with the first peer's turn in the same round. MiB are those of
the tensors that live at once, at most, beside inputs and parameters; what a library takes for
itself inside a call is not seen on a CPU. `limit` is the share of the machine's limit that is
reached: over the measured time, the least time for the bytes that must be moved (of operators:
inputs read once, results written once) or for the multiplications, at the speed of a copy and of a
matrix product on the same machine. A peer in bold is what a user gets without asking. A network "as
published" is ours with its operators computed as they were published; what lies between them is as
fast as ours, so these rows promise less than a whole released network would show.
"""

TITLES = dict(
    op='Operators',
    backbone='Backbones',
    train='Training steps',
    infer='Inference',
    data='Loading data',
    eval='Evaluation',
    export='Exported files',
)


def markdown(folder: Path = RESULTS) -> str:
    """The text of docs/performance.md.

    Raises:
        UserError: A file that is no result of a benchmark.
    """
    reports = [read_json(path) for path in sorted(folder.glob('*.json'))]
    lines = [line for what in TITLES for r in reports if r.what == what for line in _section(r)]
    return '\n'.join(
        ['# Speed', '', INTRODUCTION, *(lines or ['No results are committed yet.', ''])]
    )


def _section(report: Report) -> Iterator[str]:
    setting = report.setting
    limits = setting['limits']
    yield f'## {TITLES[report.what]}: {setting["device"]}\n'
    yield (
        f'{setting["date"]}, {setting["threads"]} threads, {setting["dtype"]}; copies '
        f'{limits["bandwidth"] / 1e9:.0f} GB/s, multiplies {limits["rate"] / 1e9:.0f} GFLOP/s.'
    )
    yield f'`{setting["command"]}`\n'
    yield ', '.join(f'{name} {version}' for name, version in setting['versions'].items()) + '.\n'
    for title, rows in contests(report):
        used = [i for i, _ in enumerate(COLUMNS) if any([*cells(row)][i] for row in rows)]
        yield _line(title, *(COLUMNS[i] for i in used))
        yield _line('---', *('---:' for _ in used))
        for row in rows:
            numbers = [*cells(row)]
            yield _line(f'**{row.peer}**' if row.chosen else row.peer, *(numbers[i] for i in used))
        yield ''
    if report.growth:
        yield (
            _line('time ~ pixels ^ exponent', 'exponent', 'of') + '\n' + _line('---', '---:', '---')
        )
        for one in report.growth:
            yield _line(one.network, f'{one.exponent:.2f}', growth_points(one))
        yield ''
    for note in report.notes:
        yield f'{note}\n'


def _line(*cells: str) -> str:
    return f'| {" | ".join(cells)} |'
