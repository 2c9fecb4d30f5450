"""Figures as papers print them: what they share."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

MAP = 'viridis'  # even in lightness: it prints in grey and serves the colour-blind
STRENGTH = 0.5  # of a map over the picture
TEXT = {
    'font.size': 8,
    'axes.titlesize': 8,
    'axes.labelsize': 8,
    'text.parse_math': False,  # a name may have "$" in it
}
WIDTH, BAR = 7.0, 0.5  # inches: two columns of a paper, and what a colour bar takes of them
CROWDED = 4  # panels beside each other, from which on titles are set smaller
LINE = dict(color='white', linewidth=1.2, path_effects=[withStroke(linewidth=2.4, foreground='k')])


def new_figure(
    rows: int, columns: int, ratio: float, extra: float = 0.4, bars: bool = False
) -> tuple[Figure, NDArray]:
    """A figure of equal panels, as wide as a page at most.

    Args:
        rows: Panels below each other.
        columns: Panels beside each other.
        ratio: Height of what a panel shows to its width.
        extra: Inches that the words above and below all rows take.
        bars: Whether each panel has a colour bar beside it.

    Returns:
        The figure, and its axes (rows, columns), without ticks.
    """
    beside = BAR * (columns if bars else 1)
    panel = min(2.4, (WIDTH - beside) / columns)
    size = (panel * columns + beside, panel * ratio * rows + extra)
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for edge in axis.spines.values():
            edge.set_visible(False)
    return figure, axes


def title(axis: Axes, text: str) -> None:
    """The words above a panel, smaller where panels are narrow."""
    crowded = axis.get_gridspec().ncols > CROWDED
    axis.set_title(text, fontsize=TEXT['font.size'] - 1.5 * crowded)


def over(
    picture: NDArray[np.uint8], heat: NDArray[np.float32], limits: tuple[float, float]
) -> NDArray[np.uint8]:
    """A map (H, W) over its picture (H, W, 3); where it is NaN, nothing was read: grey, pale."""
    grey = picture.mean(2, keepdims=True)
    colours = 255 * colormaps[MAP](Normalize(*limits)(np.nan_to_num(heat)))[..., :3]
    covered = (1 - STRENGTH) * picture + STRENGTH * colours
    unseen = np.isnan(heat)[..., None]
    return np.where(unseen, 0.3 * grey + 0.7 * 255, covered).round().astype(np.uint8)


def draw_over(
    axis: Axes, picture: NDArray[np.uint8], heat: NDArray[np.float32], limits: tuple[float, float]
) -> None:
    """Show a map over its picture; see `over`."""
    axis.imshow(over(picture, heat, limits))
    axis.autoscale(False)  # an outline may reach over the edge


def outline(axis: Axes, points: NDArray[np.float64]) -> None:
    """A closed line through points (N, 2) of the picture; a single point is a cross."""
    if len(points) == 1:
        axis.plot(*points.T, marker='+', markersize=9, markeredgewidth=1.4, **LINE)
    else:
        axis.plot(*np.concatenate([points, points[:1]]).T, **LINE)


def colour_bar(axis: Axes, limits: tuple[float, float], label: str, words: bool = False) -> None:
    """A bar to the right of a panel, as high as it; with `words` its ends are low and high."""
    place = axis.inset_axes((1.04, 0, 0.06, 1))
    mappable = ScalarMappable(Normalize(*limits), MAP)
    bar = axis.figure.colorbar(mappable, cax=place, label=label)
    bar.outline.set_visible(False)
    ends = ('low', 'high') if words else [f'{limit:.2g}' for limit in limits]
    bar.set_ticks(limits, labels=ends)
    bar.ax.tick_params(length=2, pad=2)
