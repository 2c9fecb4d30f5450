"""The samples of a training in their order: every random choice depends on the place alone.

MMEngine seeds each worker once, so that what a transform draws depends on all that its worker has
done since the start. A run that goes on in the middle would have to load everything again to
draw the same. Here each sample has a place, its number in the training over all processes, and
what its transforms draw follows from seed and place: the same after a restart, with any number
of workers, and, where samples are dealt out in turn, with any number of processes.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from torch.utils.data import DataLoader

from ..errors import UserError


class Place(NamedTuple):
    """Which sample, and the numbers that its random choices are seeded with."""

    index: int
    seeds: tuple[int, ...]


class Stream:
    """The batches of a data loader, each sample with its place: a batch sampler around another.

    Args:
        batch_sampler: Draws the numbers of samples.
        seed: The run's.

    Attributes:
        endless: Whether a pass over the data follows another without an end.
    """

    def __init__(self, batch_sampler: Sequence[list[int]], seed: int) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.endless = False
        self._pass = self._skipped = 0

    @property
    def sampler(self) -> object:
        """What orders the data, where MMEngine looks for it."""
        return self.batch_sampler.sampler

    @property
    def batch_size(self) -> int | None:
        """Samples of a batch; None of a batch sampler that does not say."""
        return getattr(self.batch_sampler, 'batch_size', None)

    def __len__(self) -> int:
        """Batches of a pass."""
        return len(self.batch_sampler)

    def start(self, epoch: int, skipped: int) -> None:
        """Let the next pass be that of an epoch, without its first batches: they are not loaded."""
        self._pass, self._skipped = epoch, skipped

    def __iter__(self) -> Iterator[list[Place]]:
        """The batches that are left of this pass, and of all that follow if they have no end."""
        skipped, self._skipped = self._skipped, 0
        while True:
            drawn = seen = 0
            for batch in self.batch_sampler:
                drawn += 1
                first, seen = seen, seen + len(batch)
                if skipped:
                    skipped -= 1
                else:
                    yield [self._place(index, first + i) for i, index in enumerate(batch)]
            self._pass += 1
            if not self.endless:
                return
            if not drawn:
                raise UserError(
                    'the training data make no batch',
                    expected='at least as many samples as a batch has on each process',
                )
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(self._pass)

    def _place(self, index: int, number: int) -> Place:
        """Processes take samples in turn, so that sample `number` here is that of all of them."""
        return Place(index, (self.seed, self._pass, number * get_world_size() + get_rank()))


class PlacedSamples:
    """Loads the samples at some places; PyTorch's loaders call it where a data set has it.

    Args:
        dataset: What is indexed.
    """

    def __init__(self, dataset: Sequence) -> None:
        self.dataset = dataset

    def __call__(self, places: list[Place]) -> list:
        """The samples, each drawn as its place says; the caller's generators are left alone."""
        with preserved_generators():
            return [self._load(place) for place in places]

    def _load(self, place: Place) -> object:
        words = np.random.SeedSequence(place.seeds).generate_state(4)
        np.random.seed(words)
        random.seed(words.tobytes())
        torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
        return self.dataset[place.index]


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Put Python's, NumPy's and PyTorch's generators of this process back at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def place_samples(loader: DataLoader, seed: int) -> None:
    """Make a loader that has not been iterated draw by places.

    Args:
        loader: Makes batches.
        seed: The run's.
    """
    if not isinstance(loader.batch_sampler, Stream):
        # PyTorch refuses the plain assignment, since it has looked at the batch sampler already.
        vars(loader)['batch_sampler'] = Stream(loader.batch_sampler, seed)
        loader.dataset.__getitems__ = PlacedSamples(loader.dataset)


def isolate(loader: DataLoader) -> None:
    """Let a loader neither draw from this process's generators nor lose workers to a signal."""
    loader.generator = torch.Generator()  # each new iterator would draw a number from PyTorch's own
    loader.worker_init_fn = QuietWorker(loader.worker_init_fn)


# Set as this process ends: PyTorch then ends workers by a signal, which they must heed.
_ENDING = multiprocessing.RawValue('b', 0)
atexit.register(setattr, _ENDING, 'value', 1)


class QuietWorker:
    """Starts a worker that leaves signals to its process: it is needed until that has saved.

    SLURM signals all processes of a job, and a terminal all of a command.

    Args:
        prepare: What the worker runs first, or None.
    """

    def __init__(self, prepare: Callable[[int], None] | None) -> None:
        self.prepare = prepare
        self.ending = _ENDING

    def __call__(self, number: int) -> None:
        """Prepare worker `number`."""
        for one in (signal.SIGINT, signal.SIGUSR1):
            signal.signal(one, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_terminate)
        if self.prepare is not None:
            self.prepare(number)

    def _on_terminate(self, *_: object) -> None:
        if self.ending.value:
            os._exit(0)
