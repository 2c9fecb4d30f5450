"""How many pictures a second one data-loading process makes, stage by stage of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..engine.config import dataset_configs
from ..errors import UserError


def stage_rates(
    cfg: Config, pictures: int, loader: str = 'train_dataloader'
) -> list[tuple[str, float]]:
    """Measure the pipeline of a data set as a worker runs it: on one thread, picture by picture.

    Collating a batch, handing it to the training process and what the model's preprocessor does are
    not in it. Augmentation draws from the generators as they stand: seed them to repeat a run.

    Args:
        cfg: A config, as `load_config` returns it; its data must be there.
        pictures: How many to time, after one that is not; the data set is repeated if it has fewer.
        loader: Whose data set is measured.

    Returns:
        (class of the transform, pictures a second) in the order of the pipeline, then ('all', ...).

    Raises:
        UserError: No picture is asked for, or the config has no such loader.
    """
    if pictures < 1:
        raise UserError('no picture to measure on', expected='at least 1', got=pictures)
    if not cfg.get(loader):
        raise UserError(f'the config has no {loader}')
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as datasets:
        dataset = datasets.build(next(dataset_configs(cfg, [loader])))
    pipeline = dataset.pipeline.transforms
    with _one_thread():
        dataset.prepare_data(0)
        dataset.pipeline = timed = _TimedPipeline(pipeline)
        for number in range(pictures):
            dataset.prepare_data(number % len(dataset))
    names = [type(transform).__name__ for transform in pipeline]
    stages = zip(names, timed.calls, timed.seconds, strict=True)
    # A transform may drop a picture, which those after it never see.
    rates = [(name, calls / seconds) for name, calls, seconds in stages if calls]
    return [*rates, ('all', pictures / sum(timed.seconds))]


class _TimedPipeline:
    """A pipeline that adds up what each of its transforms takes.

    Attributes:
        calls: How often each transform ran.
        seconds: How long all its runs took.
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = transforms
        self.calls = [0] * len(transforms)
        self.seconds = [0.0] * len(transforms)

    def __call__(self, data: dict) -> dict | None:
        for stage, transform in enumerate(self.transforms):
            start = perf_counter()
            data = transform(data)
            self.seconds[stage] += perf_counter() - start
            self.calls[stage] += 1
            if data is None:
                return None
        return data


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker of a data loader."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
