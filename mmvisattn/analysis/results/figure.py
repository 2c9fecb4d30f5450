"""The figure of a benchmark: scores against time and against parameters."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ...outputs import FONTS
from ...places import CONFIGS
from ..figures import COLOURS
from ..models import model_of
from .benchmarks import Benchmark, Row, options_of
from .measured import Measured

MARKERS = 'osD^vP*X'
# One for each network and recipe.
INK = (*COLOURS, '#222222', '#7f3c8d', '#80ba5a', '#a5612b', '#16697a', '#e68a8a', '#a3a300')


@dataclass(frozen=True)
class Point:
    """A row that was run.

    Attributes:
        label: The row's.
        group: The table that it stands in.
        metric: The name of the score.
        score: The mean over its seeds, in percent.
        std: Its standard deviation, if there are several.
        hours: Of training, the mean.
        millions: Parameters.
    """

    label: str
    group: str
    metric: str
    score: float
    std: float | None
    hours: float
    millions: float


def points(found: dict[Row, Measured | None], parameters: dict[str, int]) -> list[Point]:
    """The rows that were run.

    Args:
        found: All rows of a benchmark.
        parameters: Of each config, by its name.
    """
    return [
        Point(
            row.label,
            row.group,
            result.metric,
            round(result.score.mean, 3),
            result.score.std and round(result.score.std, 3),
            round(result.seconds.mean / 3600, 4),
            _parameters(row, parameters) / 1e6,
        )
        for row, result in found.items()
        if result
    ]


def _parameters(row: Row, parameters: dict[str, int]) -> int:
    """Those of the config, counted anew where the row changes the network."""
    if not any(option.startswith('model.') for option in row.options):
        return parameters[row.config]
    model, _ = model_of(str(CONFIGS / f'{row.config}.py'), options_of(row))
    return sum(parameter.numel() for parameter in model.parameters())


def draw(benchmark: Benchmark, points: Sequence[Point]) -> Figure:
    """Scores against hours and against parameters, with what others have published as lines."""
    figure = Figure(figsize=(9, 4.2), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    places = {
        left: [point.hours for point in points],
        right: [point.millions for point in points],
    }
    left.set_xlabel('hours of training, on the devices of the table')
    right.set_xlabel('parameters in millions')
    left.set_ylabel(f'{points[0].metric}, percent')
    groups = {point.group for point in points}
    published = {g: score for g, (_, score) in benchmark.published.items() if g in groups}
    for axis, numbers in places.items():
        _scatter(axis, benchmark, points, numbers)
        for group, score in published.items():
            axis.axhline(score, color='#8c8c8c', linewidth=1, linestyle='--')
            # On the left: what beats them took its time, and has its parameters.
            axis.annotate(f'published, {group}', (0.01, score), xycoords=('axes fraction', 'data'),
                          ha='left', va='bottom', fontsize=7, color='#555555')  # fmt: skip
        axis.set_xscale('log')
        narrow = max(numbers) < 10 * min(numbers)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if narrow else (1, 2, 5)))
        axis.xaxis.set_major_formatter('{x:g}')
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
    colours, marks = _keys(benchmark, points)
    handles = [_handle(name, 'o', ink, ink) for name, ink in colours.items()]
    if len(marks) > 1:
        handles += [_handle(name, mark, '#222222', 'none') for name, mark in marks.items()]
    columns = 2 if benchmark.has_variants else 4  # names of tables are long
    figure.legend(
        handles=handles, loc='outside lower center', ncols=columns, fontsize=8, frameon=False
    )
    return figure


def _keys(benchmark: Benchmark, points: Sequence[Point]) -> tuple[dict[str, str], dict[str, str]]:
    """What colours and marks stand for: networks and tables; of variants, tables alone."""
    groups = list(dict.fromkeys(point.group for point in points))
    marks = {group: MARKERS[n % len(MARKERS)] for n, group in enumerate(groups)}
    if benchmark.has_variants:
        return {group: INK[n % len(INK)] for n, group in enumerate(groups)}, {}
    labels = dict.fromkeys(point.label for point in points)
    return {label: INK[n % len(INK)] for n, label in enumerate(labels)}, marks


def _handle(name: str, mark: str, ink: str, fill: str) -> Line2D:
    return Line2D(
        [], [], marker=mark, color=ink, markerfacecolor=fill, linestyle='none', label=name
    )


def _scatter(
    axis: Axes, benchmark: Benchmark, points: Sequence[Point], places: Sequence[float]
) -> None:
    colours, marks = _keys(benchmark, points)
    for point, place in zip(points, places, strict=True):
        axis.errorbar(
            [place],
            [point.score],
            yerr=point.std,
            marker=marks.get(point.group, 'o'),
            color=colours[point.group if benchmark.has_variants else point.label],
            linestyle='none',
            capsize=3,
        )


def as_svg(figure: Figure, benchmark: Benchmark, points: Sequence[Point]) -> str:
    """The figure as text, with `digest_of` in it."""
    digest = digest_of(benchmark, points)
    out = io.StringIO()
    with matplotlib.rc_context({**FONTS, 'svg.hashsalt': digest}):
        figure.savefig(out, format='svg', metadata={'Date': None, 'Description': digest})
    return out.getvalue()


def digest_of(benchmark: Benchmark, points: Sequence[Point]) -> str:
    """A sha256 of what a figure shows, the same whichever fonts and matplotlib drew it."""
    shown = [benchmark.title, benchmark.published, [asdict(point) for point in points]]
    return sha256(json.dumps(shown).encode()).hexdigest()
