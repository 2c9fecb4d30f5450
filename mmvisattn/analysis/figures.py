"""What the figures of the analyses share: colours, sizes, and how a page takes them."""

from __future__ import annotations

import io
import re
from hashlib import sha256

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..errors import UserError
from ..outputs import plain_words
from .predicted.base import Confusion, Errors

# Okabe and Ito's, told apart by the colour-blind and seen on light and on dark ground.
COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#8c8c8c')
DARK = (0, 2, 5)  # of them, those on which white is read
MOST_ROWS = 150  # of pictures: matplotlib draws sides of 2 ** 16 pixels
MOST_NUMBERS = 26  # classes up to which a matrix has its numbers written in


def check_rows(count: int) -> None:
    """Refuse a figure with more rows of pictures than can be drawn, before they are.

    Raises:
        UserError: There are too many.
    """
    if count > MOST_ROWS:
        raise UserError(
            f'{count} rows of pictures do not fit into one figure',
            expected=f'{MOST_ROWS} at most',
            do='give a folder in place of the file, where the tool takes one; or draw fewer',
        )


def svg(figure: Figure, label: str) -> str:
    """A figure as a part of a page: its text and lines in the colour of the page's text.

    Args:
        figure: Drawn in matplotlib's black on white.
        label: What it shows, for those who do not see it.
    """
    plain_words(figure)
    figure.patch.set_alpha(0)
    for axis in figure.axes:
        axis.patch.set_alpha(0)
    salt = sha256(label.encode()).hexdigest()[:8]  # ids of several figures share one page
    settings = {'svg.fonttype': 'none', 'svg.hashsalt': salt, 'font.family': 'sans-serif'}
    out = io.StringIO()
    with matplotlib.rc_context(settings):
        figure.savefig(out, format='svg', metadata={'Date': None, 'Creator': None})
    text = out.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    named = r'(\bid="|href="#|url\(#)'
    text = re.sub(named, rf'\1f{salt}-', text)
    text = text.replace('#000000', 'currentColor')
    text = re.sub(r'<svg ', f'<svg role="img" aria-label="{_attribute(label)}" ', text, count=1)
    text = text.replace(COLOURS[0], f'var(--blue, {COLOURS[0]})')  # too dark on dark ground
    # Text without a fill would be black on any ground.
    return text.replace('<text ', '<text fill="currentColor" ')


def _attribute(text: str) -> str:
    return text.replace('&', '&amp;').replace('"', '&quot;').replace('<', '&lt;')


def draw_confusion(confusion: Confusion) -> Figure:
    """The shares of each true class as a matrix, with numbers where there is room."""
    shares = 100 * confusion.shares
    rows, columns = shares.shape
    side = min(24, max(4.5, 0.42 * columns + 2.6))
    figure = Figure(figsize=(side, side * rows / columns * 0.8 + 0.8), layout='constrained')
    axis = figure.subplots()
    image = axis.imshow(np.nan_to_num(shares), cmap='Blues', vmin=0, vmax=100)
    axis.set_xticks(range(columns), confusion.predicted, rotation=45, ha='right')
    axis.set_yticks(range(rows), confusion.true)
    size = 9 if columns <= MOST_NUMBERS else max(3, 9 * MOST_NUMBERS / columns)
    axis.tick_params(labelsize=size, length=0)
    axis.spines[:].set_visible(False)
    axis.set_xlabel('predicted')
    axis.set_ylabel('true')
    axis.set_title(f'Percent of the true {confusion.unit}', fontsize=10, loc='left', wrap=True)
    if columns <= MOST_NUMBERS:
        _write_numbers(axis, shares)
    figure.colorbar(image, shrink=0.7, pad=0.02)
    return figure


def _write_numbers(axis: matplotlib.axes.Axes, shares: NDArray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if np.isnan(share) or share < 0.05:
            continue
        colour = 'white' if share > 55 else '#0b1e33'
        text = f'{share:.0f}' if share >= 9.95 else f'{share:.1f}'
        axis.text(column, row, text, ha='center', va='center', fontsize=8, color=colour)


def draw_errors(errors: Errors) -> Figure:
    """A bar for each class, divided into what is right and the kinds of errors."""
    names, shares = list(errors.names), 100 * errors.shares
    known = ~np.isnan(shares[:, 0])
    names, shares = [n for n, k in zip(names, known, strict=True) if k], shares[known]
    figure = Figure(figsize=(9, 0.28 * len(names) + 1.7), layout='constrained')
    axis = figure.subplots()
    places = np.arange(len(names), dtype=float)
    places[1:] += 0.4  # the whole stands apart
    left = np.zeros(len(names))
    for number, kind in enumerate(errors.kinds):
        width = shares[:, number]
        axis.barh(places, width, left=left, height=0.75, color=colour_of(number), label=kind)
        ink = 'white' if number in DARK else '#111111'
        for place, start, share in zip(places, left, width, strict=True):
            if share >= 4:
                middle = dict(ha='center', va='center', fontsize=8, color=ink)
                axis.text(start + share / 2, place, f'{share:.0f}', **middle)
        left += width
    axis.set_yticks(places, names, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_xlabel(f'percent of the {errors.unit}')
    axis.spines[['top', 'right', 'left']].set_visible(False)
    axis.tick_params(axis='y', length=0)
    figure.legend(loc='outside upper center', ncols=min(4, len(errors.kinds)), frameon=False,
                  fontsize=9)  # fmt: skip
    return figure


def colour_of(number: int) -> str:
    """The colour of the n-th line, the first again after the last."""
    return COLOURS[number % len(COLOURS)]


def grid(count: int) -> tuple[int, int]:
    """Rows and columns for so many axes."""
    columns = min(count, 2)
    return -(-count // columns), columns
