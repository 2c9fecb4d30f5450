"""Curves of runs: what MMEngine logged, those of a resumed run joined, seeds as mean and band."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..errors import UserError, did_you_mean
from ..naming import distinct_names
from .figures import colour_of, grid
from .seeds import NOT_METRICS, SCALARS, work_dirs_in

# Of the numbers of a validation, what a task is known by; the first that is there is drawn.
MAIN = ('mIoU', 'coco/segm_mAP', 'coco/bbox_mAP', 'coco_panoptic/PQ', 'coco/AP', 'accuracy/top1')
Line = tuple[NDArray, NDArray]  # steps, values


@dataclass(frozen=True)
class Run:
    """What a training logged.

    Attributes:
        name: Of its folder.
        lines: {key: (steps, values)}, steps in iterations.
        metrics: The keys that validations gave.
    """

    name: str
    lines: dict[str, Line]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """One run, or those of one command with several seeds.

    Attributes:
        name: Of the folder, with parents where others would have the same.
        runs: One for each seed.
    """

    name: str
    runs: tuple[Run, ...]


def read_groups(folders: Sequence[str | Path]) -> list[Group]:
    """What is compared, under distinct names; see `read_group`."""
    groups = map(read_group, folders)
    names = distinct_names(folders)
    return [replace(group, name=name) for group, name in zip(groups, names, strict=True)]


def read_group(folder: str | Path) -> Group:
    """The runs of a work dir, or of a folder of work dirs (`train_seeds.py`).

    Raises:
        UserError: There are none, or none has logged anything.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f'no folder {folder}', expected='the work dir of a training')
    runs = [read_run(work_dir) for work_dir in work_dirs_in(path)]
    runs = [run for run in runs if run.lines]
    if not runs:
        raise UserError(
            f'no training has logged anything in {folder}',
            expected=f'TIMESTAMP/{SCALARS}, as tools/train.py writes it',
        )
    return Group(path.resolve().name, tuple(runs))


def read_run(work_dir: Path) -> Run:
    """The training of a work dir; what a later start did again counts from there."""
    rows: list[dict] = []
    for path in sorted(work_dir.glob(f'*/{SCALARS}')):
        later = _rows(path)
        if later:
            rows = [row for row in rows if row['x'] < later[0]['x']] + later
    lines: dict[str, list[tuple[float, float]]] = {}
    metrics: dict[str, None] = {}
    for row in rows:
        for key, value in row.items():
            if key in NOT_METRICS - {'time', 'data_time'} or key == 'x':
                continue
            if row['validation'] and key not in NOT_METRICS and key != 'validation':
                metrics[key] = None
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                where = f'val/{key}' if row['validation'] and key in NOT_METRICS else key
                lines.setdefault(where, []).append((row['x'], value))
    arrays = {key: tuple(np.array(points, float).T) for key, points in lines.items()}
    return Run(work_dir.resolve().name, arrays, tuple(metrics))


def _rows(path: Path) -> list[dict]:
    """The lines of a log, with `x`, the iterations done, and whether it is of a validation.

    A validation is never earlier than the last line of training. Where epochs are counted, it has
    its epoch for a step; where iterations are and `LoggerHook.log_metric_by_epoch` was left on, 0.
    """
    rows, done = [], 0
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if not isinstance(row, dict) or 'step' not in row:
            continue
        row['validation'] = 'lr' not in row and 'loss' not in row
        by_epoch = any('epoch' in earlier for earlier in rows[:1])
        if not row['validation']:
            done = row['step']
        elif not by_epoch:
            done = max(done, row['step'])
        rows.append({**row, 'x': done})
    return rows


def default_keys(groups: Iterable[Group]) -> list[str]:
    """The loss, and the metric that a task is known by."""
    runs = [run for group in groups for run in group.runs]
    metrics = list(dict.fromkeys(key for run in runs for key in run.metrics))
    main = [key for key in MAIN if key in metrics] or metrics
    loss = [key for key in ('loss',) if any(key in run.lines for run in runs)]
    return loss + main[:1]


def draw_curves(groups: Sequence[Group], keys: Sequence[str] = (), log: bool = False) -> Figure:
    """All groups in one figure, with axes for each key.

    Args:
        groups: What is compared.
        keys: What is drawn; by default `default_keys`.
        log: Whether losses are drawn on a logarithmic scale.

    Raises:
        UserError: A key that no run has logged.
    """
    known = sorted({key for group in groups for run in group.runs for key in run.lines})
    keys = list(keys) or default_keys(groups)
    for key in keys:
        if key not in known:
            raise UserError(
                f'no run has logged {key}',
                expected=', '.join(known),
                do=did_you_mean(key, known),
            )
    rows, columns = grid(len(keys))
    size = (5 * columns + 0.5, 3.1 * rows + (0.5 if len(groups) > 1 else 0))
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(keys) :]:
        axis.set_visible(False)
    entries: dict[int, Line2D] = {}  # of the legend, by the number of the group
    for axis, key in zip(axes, keys, strict=False):
        for number, group in enumerate(groups):
            line = _draw(axis, group, key, colour_of(number))
            if line:
                entries.setdefault(number, line)
        axis.set_title(key, fontsize=10, loc='left')
        axis.set_xlabel('iterations', fontsize=9)
        axis.grid(alpha=0.25)
        axis.spines[['top', 'right']].set_visible(False)
        axis.tick_params(which='both', labelsize=8)
        if log and 'loss' in key:
            axis.set_yscale('log')
    if len(groups) > 1 or any(len(group.runs) > 1 for group in groups):
        labels = [line.get_label() for line in entries.values()]
        figure.legend(entries.values(), labels, loc='outside upper center', frameon=False,
                      fontsize=9, ncols=min(3, len(labels)))  # fmt: skip
    return figure


def _draw(axis: Axes, group: Group, key: str, colour: str) -> Line2D | None:
    """The line of a run; of several, their mean and a band of a standard deviation around it."""
    lines = [run.lines[key] for run in group.runs if key in run.lines]
    if not lines:
        return None
    steps, mean, std = mean_line(lines)
    name = group.name if len(lines) == 1 else f'{group.name}: mean and std of {len(lines)} seeds'
    few = len(steps) <= 30
    marker = 'o' if few else ''
    (line,) = axis.plot(steps, mean, color=colour, lw=1.4, marker=marker, ms=3.5, label=name)
    if std is not None:
        axis.fill_between(steps, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
    return line


def mean_line(lines: Sequence[Line]) -> tuple[NDArray, NDArray, NDArray | None]:
    """Mean and sample standard deviation (None of one line) at the steps that all lines have."""
    steps = sorted(set.intersection(*({*line[0]} for line in lines)))
    values = np.array([[dict(zip(*line, strict=True))[step] for step in steps] for line in lines])
    std = values.std(0, ddof=1) if len(lines) > 1 else None
    return np.array(steps), values.mean(0), std
