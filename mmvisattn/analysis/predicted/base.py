"""What every task can be asked, and what it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray
from torch.utils.data import DataLoader


@dataclass(frozen=True)
class Table:
    """Numbers by row and column; NaN where there is none.

    Attributes:
        title: What is counted.
        columns: Names of the columns.
        rows: {name: a number for each column}; the first is the whole, where there is one.
        about: What the columns mean and in which unit, a sentence or two.
    """

    title: str
    columns: Sequence[str]
    rows: dict[str, Sequence[float]]
    about: str


@dataclass(frozen=True)
class Confusion:
    """How often each true class was taken for which.

    Attributes:
        counts: (true, predicted).
        true: Names of the rows.
        predicted: Names of the columns.
        unit: What is counted: pixels, objects, pictures.
    """

    counts: NDArray[np.int64]
    true: Sequence[str]
    predicted: Sequence[str]
    unit: str

    @property
    def shares(self) -> NDArray[np.float64]:
        """Each row as shares of its sum; NaN in rows of which there is nothing."""
        sums = self.counts.sum(1, keepdims=True)
        return np.divide(self.counts, sums, where=sums > 0, out=np.full(self.counts.shape, np.nan))


@dataclass(frozen=True)
class Errors:
    """What became of the truth, as shares that add up to 1 for each class.

    Attributes:
        kinds: {kind: what it means}; the first is what is right.
        shares: (class, kind); NaN in rows of classes that do not occur.
        names: Of the rows, the first of which is the whole.
        unit: Shares of what.
        source: Where the kinds come from.
    """

    kinds: dict[str, str]
    shares: NDArray[np.float64]
    names: Sequence[str]
    unit: str
    source: str


@dataclass(frozen=True)
class Score:
    """How well one picture was predicted.

    Attributes:
        path: Its file.
        value: The higher the better.
    """

    path: str
    value: float


class Predicted:
    """Predictions of a task beside the truth.

    Args:
        metric: The metric, with the predictions in it.
        loader: The test data.
        folder: Of the predictions.

    Attributes:
        scored_by: What `scores` computes.
    """

    scored_by = ''

    def __init__(self, metric: BaseMetric, loader: DataLoader, folder: str) -> None:
        self.metric, self.loader, self.folder = metric, loader, Path(folder)
        self.metric.dataset_meta = loader.dataset.metainfo

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return self.loader.dataset.metainfo['classes']

    def details(self) -> list[Table]:
        """The metric by class, and by what else it can be split."""
        raise NotImplementedError

    def confusion(self) -> Confusion:
        """What was taken for what."""
        raise NotImplementedError

    def errors(self) -> Errors:
        """Which kinds of errors there are, and how much of the truth each costs."""
        raise NotImplementedError

    def scores_of(self, values: dict[int, float]) -> list[Score]:
        """Scores of pictures, of {id: share of 1}; those that were not tested are left out."""
        dataset = self.loader.dataset
        infos = (dataset.get_data_info(i) for i in range(len(dataset)))
        paths = {info['img_id']: info['img_path'] for info in infos}
        return [Score(paths[i], 100 * value) for i, value in values.items() if i in paths]

    def scores(self) -> list[Score]:
        """A score for each picture that has one."""
        raise NotImplementedError


def percent(values: NDArray | Sequence[float]) -> list[float]:
    """Shares of 1 as percents, for tables."""
    return [100 * float(value) for value in values]


def mean_of(values: NDArray) -> float:
    """The mean of what is no NaN; NaN of nothing, without a warning."""
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else float('nan')
