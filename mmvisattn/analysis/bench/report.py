"""What was measured: as a table, as JSON, as a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from ...atomic import write_text
from ...errors import UserError

MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One peer's result.

    Attributes:
        title: The work; rows of one title and run belong together.
        run: The part of it.
        peer: Who did it.
        chosen: Whether it is what a user gets without asking.
        milliseconds: Of one call: the median, the lower and the upper quartile.
        speedup: Over the first peer of the same title and run: the median, lowest and highest of
            the rounds. None where there is nothing to compare.
        memory: Bytes of tensors that live at once in a call, at most.
        share: The least time that the machine's limits allow, over the measured one.
        rate: Pictures per second.
    """

    title: str
    run: str
    peer: str
    chosen: bool
    milliseconds: list[float]
    speedup: list[float] | None = None
    memory: int | None = None
    share: float | None = None
    rate: float | None = None


@dataclass(frozen=True)
class Growth:
    """How the time of a network grows with its input.

    Attributes:
        network: Its name.
        pixels: Pixels of a picture.
        milliseconds: Of a forward pass at each.
        exponent: The e of time ~ pixels ** e that fits best.
    """

    network: str
    pixels: list[int]
    milliseconds: list[float]
    exponent: float


@dataclass(frozen=True)
class Report:
    """A benchmark's results.

    Attributes:
        what: The subcommand.
        setting: Device, threads, dtype, date, versions, limits, command.
        rows: The results.
        growth: How networks grow with pixels.
        notes: What a reader must know.
    """

    what: str
    setting: dict = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def contests(report: Report) -> Iterator[tuple[str, list[Row]]]:
    """The rows that belong together, with what they have in common."""
    for (title, run), rows in groupby(report.rows, key=lambda row: (row.title, row.run)):
        yield f'{title}, {run}', list(rows)


def table(report: Report) -> str:
    """The results as text, at most 100 columns wide; * marks what a user gets without asking."""
    lines = [_setting(report.setting), '']
    for title, rows in contests(report):
        lines += [title, _line(' ', 'peer', *COLUMNS)]
        lines += [_line('*' if r.chosen else ' ', r.peer, *cells(r)) for r in rows]
        lines.append('')
    for one in report.growth:
        lines.append(f'{one.network}: time grows with pixels to the power {one.exponent:.2f}')
        lines.append(f'    {growth_points(one)}')
    return '\n'.join(lines + report.notes)


COLUMNS = ('ms', 'quartiles', 'x', 'range', 'MiB', 'limit', 'img/s')
WIDTHS = (9, 17, 7, 12, 8, 6, 8)


def cells(row: Row) -> Iterator[str]:
    """A row's numbers, in the order of `COLUMNS`; empty where there is none."""
    median, low, high = (_digits(value) for value in row.milliseconds)
    yield median
    yield f'{low} - {high}'
    speedup = [_digits(value) for value in row.speedup or ()]
    yield speedup[0] if speedup else ''
    yield f'{speedup[1]} - {speedup[2]}' if speedup else ''
    yield '' if row.memory is None else _digits(row.memory / MIB)
    yield '' if row.share is None else f'{100 * row.share:.0f} %'
    yield '' if row.rate is None else _digits(row.rate)


def growth_points(one: Growth) -> str:
    """The measured points of a growth, as text."""
    return ', '.join(
        f'{_digits(ms)} ms at {pixels:,}'
        for pixels, ms in zip(one.pixels, one.milliseconds, strict=True)
    )


def _digits(value: float) -> str:
    """Three digits at least."""
    return f'{value:.0f}' if value >= 100 else f'{value:.{1 if value >= 10 else 2}f}'


def _line(mark: str, peer: str, *numbers: str) -> str:
    columns = (f'{n:>{width}}' for n, width in zip(numbers, WIDTHS, strict=True))
    return f'{mark} {peer:<29.29}{"".join(columns)}'.rstrip()


def _setting(setting: dict) -> str:
    limits = setting['limits']
    return (
        f'{setting["device"]}, {setting["threads"]} threads, {setting["dtype"]}, '
        f'torch {setting["versions"]["torch"]}\n'
        f'copies {limits["bandwidth"] / 1e9:.0f} GB/s, multiplies '
        f'{limits["rate"] / 1e9:.0f} GFLOP/s: the limit'
    )


def write_json(report: Report, path: Path) -> None:
    """Write a report; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(report), indent=1) + '\n')


def read_json(path: Path) -> Report:
    """Read what `write_json` wrote.

    Raises:
        UserError: Another kind of file.
    """
    try:
        content = json.loads(path.read_text())
        rows = [Row(**row) for row in content.pop('rows')]
        growth = [Growth(**one) for one in content.pop('growth')]
        return Report(**content, rows=rows, growth=growth)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f'{path} is no result of a benchmark',
            got=f'{type(error).__name__}: {error}',
            do=f'python tools/analysis_tools/benchmark.py op --json {path}',
        ) from error


def plot(report: Report, path: Path) -> None:
    """Draw the results: a bar for each peer, its quartiles as a line; growth below them."""
    groups = list(contests(report))
    heights = [len(rows) for _, rows in groups] + [8] * bool(report.growth)
    figure = Figure(figsize=(9, 0.8 * len(heights) + 0.25 * sum(heights)), layout='constrained')
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (title, rows) in zip(axes, groups, strict=False):
        medians = [row.milliseconds[0] for row in rows]
        spread = [
            [abs(row.milliseconds[0] - row.milliseconds[edge]) for row in rows] for edge in (1, 2)
        ]
        colours = ['tab:orange' if row.chosen else 'tab:gray' for row in rows]
        axis.barh([row.peer for row in rows], medians, xerr=spread, color=colours)
        axis.invert_yaxis()
        axis.set_title(title, loc='left', fontsize='medium')
        axis.set_xlabel('ms')
    for one in report.growth:
        label = f'{one.network}: exponent {one.exponent:.2f}'
        axes[-1].loglog(one.pixels, one.milliseconds, marker='o', label=label)
    if report.growth:
        axes[-1].set_xlabel('pixels')
        axes[-1].set_ylabel('ms')
        axes[-1].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
