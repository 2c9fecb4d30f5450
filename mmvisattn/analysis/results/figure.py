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

from ...outputs import FONTS
from ..figures import colour_of
from .benchmarks import Benchmark, Row
from .measured import Measured

MARKERS = 'osD^vP*X'
MOST_NAMED = 12  # points that the legend has room for


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
    run = [(row, result) for row, result in found.items() if result]
    return [
        Point(
            row.label,
            row.group,
            result.metric,
            round(result.score.mean, 3),
            result.score.std and round(result.score.std, 3),
            round(result.seconds.mean / 3600, 4),
            parameters[row.config] / 1e6,
        )
        for row, result in run
    ]


def draw(benchmark: Benchmark, points: Sequence[Point]) -> Figure:
    """Scores against hours and against parameters, with what others have published as lines."""
    figure = Figure(figsize=(9, 4.2), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    _scatter(left, points, [point.hours for point in points])
    _scatter(right, points, [point.millions for point in points])
    left.set_xlabel('hours of training, on the devices of the table')
    right.set_xlabel('parameters in millions')
    left.set_ylabel(f'{points[0].metric}, percent')
    groups = {point.group for point in points}
    published = {g: score for g, (_, score) in benchmark.published.items() if g in groups}
    for axis in (left, right):
        for group, score in published.items():
            axis.axhline(score, color='#8c8c8c', linewidth=1, linestyle='--')
            axis.annotate(f'published, {group}', (1, score), xycoords=('axes fraction', 'data'),
                          ha='right', va='bottom', fontsize=7, color='#555555')  # fmt: skip
        axis.set_xscale('log')
        axis.grid(alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
    if len(points) <= MOST_NAMED:
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc='outside lower center', ncols=3, fontsize=8,
                      frameon=False)  # fmt: skip
    return figure


def _scatter(axis: Axes, points: Sequence[Point], places: Sequence[float]) -> None:
    """A colour for each network, a mark for each table."""
    labels = list(dict.fromkeys(point.label for point in points))
    groups = list(dict.fromkeys(point.group for point in points))
    for point, place in zip(points, places, strict=True):
        axis.errorbar(
            [place],
            [point.score],
            yerr=point.std,
            marker=MARKERS[groups.index(point.group) % len(MARKERS)],
            color=colour_of(labels.index(point.label)),
            linestyle='none',
            label=f'{point.label}, {point.group}',
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
