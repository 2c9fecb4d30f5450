"""Pictures with truth and prediction beside them: some of a test, or its worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config

from ..errors import UserError
from ..outputs import check_figure_or_folder, save_figure
from .figures import check_rows
from .pictures import Labels, Row, Segments, _CocoTask, read_pictures
from .predicted import Predicted, Score

TITLES = ('picture', 'truth', 'prediction')


def worst(predicted: Predicted, count: int) -> list[Score]:
    """The pictures with the lowest scores, the lowest first.

    Raises:
        UserError: No picture has one.
    """
    scores = sorted(predicted.scores(), key=lambda score: (score.value, score.path))
    if not scores:
        raise UserError('no picture of this test has a score', expected='pictures with truth')
    return scores[:count]


def rows_of(task: Segments | _CocoTask | Labels, paths: Sequence[str]) -> Iterator[Row]:
    """Each of these pictures, its truth and its prediction.

    Raises:
        UserError: A prediction is missing.
    """
    for path in paths:
        try:
            yield task.row(path)
        except FileNotFoundError as error:
            raise UserError(
                f'no prediction {error.filename}', do='tools/test.py CONFIG CKPT --out RESULTS'
            ) from error


def draw_gallery(
    task: Segments | _CocoTask | Labels, paths: Sequence[str], labels: Sequence[str] = ()
) -> Figure:
    """A row for each picture: itself, its truth and its prediction.

    Args:
        task: Whose pictures they are (`read_pictures`).
        paths: Which.
        labels: What is written beside each, if anything.
    """
    rows = list(rows_of(task, paths))
    figure = Figure(figsize=(9, 2.45 * len(rows) + 0.7), layout='constrained')
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for row, images in zip(axes, rows, strict=True):
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
    for row, label in zip(axes, labels, strict=False):
        row[0].set_ylabel(label, fontsize=8)
    for axis, title in zip(axes[0], TITLES, strict=True):
        axis.set_title(title)
    if task.legend:
        figure.legend(handles=task.legend, loc='outside lower center', ncols=5, frameon=False)
    return figure


def write_worst(cfg: Config, predicted: Predicted, target: str, count: int) -> list[Score]:
    """Write the worst pictures: into one figure, or each into a folder, named by its rank.

    Args:
        cfg: The config that was tested.
        predicted: Its predictions.
        target: A file (.png, .pdf, .svg), or a folder.
        count: How many.

    Raises:
        UserError: The target cannot be written, or has more rows than can be drawn.
    """
    in_one = check_figure_or_folder(target)
    task, scores = read_pictures(cfg, predicted.folder), worst(predicted, count)
    labels = [
        f'{Path(score.path).name}\n{predicted.scored_by}: {score.value:.1f}' for score in scores
    ]
    if in_one:
        check_rows(len(scores))
        save_figure(draw_gallery(task, [score.path for score in scores], labels), target)
        return scores
    for rank, (score, label) in enumerate(zip(scores, labels, strict=True), 1):
        name = f'{rank:03d}_{Path(score.path).stem}.png'
        save_figure(draw_gallery(task, [score.path], [label]), Path(target, name))
    return scores
