"""Name the file when a picture or an annotation is at fault; in training, go on without it.

Without this a picture that does not decode ends in "'NoneType' object has no attribute 'shape'"
somewhere in a worker, and a label that no class has ends in an assertion on the GPU.

A metric over fewer pictures would be another metric: validation and tests stop at the first bad
file. Training takes another sample in its place, until too many have failed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import all_reduce
from mmengine.logging import print_log

from ..errors import UserError

SHARE = 0.001  # of a data set's samples that may be bad, unless the config says otherwise
AT_LEAST = 10  # may be bad in any case, of a data set that has ten times as many
NAMED = 20  # how many skipped files are named in the log
UNSEEN, SEEN, BAD = range(3)  # what is known of a sample; of two processes the larger holds


class GuardedPipeline:
    """A data set's pipeline whose errors say which file they are about.

    Args:
        pipeline: The data set's own pipeline.
        num_classes: How many classes the labels may have, or None where there are no label maps.
        ignore_index: The label that stands for "not labelled".

    Attributes:
        skipped: Where samples that fail are counted, None if they are to stop the run.
    """

    def __init__(
        self, pipeline: Callable[[dict], dict], num_classes: int | None, ignore_index: int = 255
    ) -> None:
        self.pipeline = pipeline
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.skipped: SkippedSamples | None = None

    @property
    def transforms(self) -> list:
        """The steps of the wrapped pipeline, where MMEngine's tools look for them."""
        return self.pipeline.transforms

    def __call__(self, info: dict) -> dict | None:
        """Run the pipeline on one entry of the data set's list.

        Returns:
            The sample; None, for which MMEngine draws another sample, if the pipeline says so or
            this one is skipped.
        """
        files = _files(info)
        if self.skipped is None:
            return self._run(info, files)
        index = info['sample_idx']
        self.skipped.count(index)
        try:
            return self._run(info, files)
        except UserError as error:
            self.skipped.add(index, files, error)
            return None

    def _run(self, info: dict, files: list[str]) -> dict | None:
        for file in files:
            if os.path.exists(file) and not os.path.isfile(file):
                raise UserError(f'{file} is no file', expected='a picture', do='remove it')
        try:
            sample = self.pipeline(info)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                'a picture fails in the data pipeline',
                expected='a picture that decodes, and annotations that belong to it',
                got=f'{type(error).__name__}: {error}\nin ' + '\nand '.join(files),
                do='run tools/check_data.py on the data set, then mend or remove the file;\n'
                'if the file is sound, MMVISATTN_TRACEBACK=1 shows where the pipeline failed',
            ) from error
        if self.num_classes is not None and 'gt_sem_seg' in (sample or {}).get('data_samples', ()):
            self._check_labels(sample['data_samples'].gt_sem_seg.data.numpy(), files[-1])
        return sample

    def _check_labels(self, labels: np.ndarray, file: str) -> None:
        bad = (labels >= self.num_classes) & (labels != self.ignore_index)
        if bad.any():
            raise UserError(
                'a label map has values that no class has',
                expected=f'0 to {self.num_classes - 1}, or {self.ignore_index} for "not labelled" '
                '(after the data set has mapped them)',
                got=f'{sorted(set(labels[bad].tolist()))} in {file}',
                do='run tools/check_data.py on the data set; set `classes` in the config to what '
                'the labels hold',
            )


class SkippedSamples:
    """The samples of a training set that were skipped, in all workers of a process.

    A sample counts once, however often it fails. More than `share` of the samples seen, and more
    than ten (or a tenth of a small data set), stop the run; a share of 0 stops at the first.

    Args:
        dataset: The data set, whose workers are yet to start.
        share: From 0 to 1.
    """

    def __init__(self, dataset: BaseDataset, share: float) -> None:
        self.dataset = dataset
        self.share = share
        self.at_least = min(AT_LEAST, len(dataset) // 10) if share else 0
        # In memory that the workers share, however they start; each entry is set by itself.
        self._state = torch.full((len(dataset),), UNSEEN, dtype=torch.uint8).share_memory_()
        self._first: UserError | None = None  # of this process or worker

    def __deepcopy__(self, memo: dict) -> SkippedSamples:
        return self  # the processes of a run count together, and so do copies of its data set

    def count(self, index: int) -> None:
        """Count a sample that is looked at."""
        if self._state[index] == UNSEEN:
            self._state[index] = SEEN

    def add(self, index: int, files: list[str], error: UserError) -> None:
        """Count a sample that fails, and say so in the log.

        Raises:
            UserError: Too many have failed.
        """
        self._first = self._first or error
        is_new = self._state[index] != BAD
        self._state[index] = BAD
        bad, seen = int((self._state == BAD).sum()), int((self._state != UNSEEN).sum())
        if bad > max(self.at_least, self.share * seen):
            raise UserError(
                f'{bad} of {seen} samples fail in the data pipeline',
                expected=f'at most {self.share:.2%} of them (`bad_pictures` of the config), and '
                f'{self.at_least} in any case',
                got='\n'.join([*islice(self.files(), NAMED), f'the first error: {self._first}']),
                do='python tools/check_data.py LAYOUT FOLDER names all that is wrong',
            ) from self._first
        if is_new and bad <= NAMED:
            reason = error.__cause__ or error
            print_log(
                f'Skipped {" and ".join(files)} ({bad} of {seen} samples so far): '
                f'{type(reason).__name__}: {str(reason).partition(chr(10))[0]}',
                logger='current',
                level=logging.WARNING,
            )

    def gathered(self) -> list[int]:
        """The numbers of the samples skipped in any process of the run; all of them must ask."""
        state = self._state.clone()
        all_reduce(state, 'max')
        return _bad(state)

    def files(self, indices: list[int] | None = None) -> Iterator[str]:
        """The files of these samples; None: of those skipped in this process and its workers."""
        indices = _bad(self._state) if indices is None else indices
        infos = (self.dataset.get_data_info(index) for index in indices)
        return iter(dict.fromkeys(' and '.join(_files(info)) for info in infos))


def _bad(state: torch.Tensor) -> list[int]:
    return (state == BAD).nonzero().flatten().tolist()


def guard(dataset: object) -> None:
    """Put a `GuardedPipeline` into a data set and those it wraps."""
    for inner in _data_sets(dataset):
        pipeline = inner.pipeline
        if isinstance(pipeline, GuardedPipeline):
            continue
        labels_are_maps = hasattr(inner, 'reduce_zero_label')
        inner.pipeline = GuardedPipeline(
            pipeline,
            num_classes=len(inner.metainfo['classes']) if labels_are_maps else None,
            ignore_index=getattr(inner, 'ignore_index', 255),
        )


def skip_bad_samples(dataset: object, share: float = SHARE) -> list[SkippedSamples]:
    """Let a guarded data set and those it wraps go on without samples that fail.

    A data set in test mode, or one that mixes others by a pipeline of its own, still stops.

    Args:
        dataset: What `guard` was called with; its workers have not started.
        share: How many of the samples seen may be bad, from 0 to 1.

    Returns:
        Where they are counted, for each data set that can go on.
    """
    counts = []
    for inner in _data_sets(dataset):
        if isinstance(inner, BaseDataset) and not inner.test_mode and not _wrapped(inner):
            inner.pipeline.skipped = SkippedSamples(inner, share)
            counts.append(inner.pipeline.skipped)
    return counts


def _data_sets(dataset: object) -> Iterator:
    """A data set and those it wraps, where they have a pipeline."""
    for inner in _wrapped(dataset):
        yield from _data_sets(inner)
    if callable(getattr(dataset, 'pipeline', None)):
        yield dataset


def _wrapped(dataset: object) -> list:
    one = getattr(dataset, 'dataset', None)
    return getattr(dataset, 'datasets', None) or ([] if one is None else [one])


def _files(info: dict) -> list[str]:
    return [str(info[key]) for key in ('img_path', 'seg_map_path') if info.get(key)]
