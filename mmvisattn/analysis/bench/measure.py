"""Peers measured in turn: time, its spread and ratio, and memory."""

from __future__ import annotations

import math
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from .machine import DTYPES, Limits, measured_limits, synchronized
from .report import Row


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: How often each peer has its turn.
        seconds: How long a turn lasts at least, in as many calls as that takes.
    """

    rounds: int
    seconds: float


EFFORTS = {True: Effort(rounds=3, seconds=0.02), False: Effort(rounds=5, seconds=0.2)}


@dataclass(frozen=True)
class Peer:
    """One way to do the work.

    Attributes:
        name: What the table calls it.
        run: Does it once.
        chosen: Whether it is what a user gets without asking.
        moved: Bytes that the work reads and writes at least, however it is done.
        operations: Operations that it computes, two for each multiply-add.
        dtype: What it computes in, a key of `DTYPES`, if not in what the others do.
    """

    name: str
    run: Callable[[], object]
    chosen: bool = False
    moved: int = 0
    operations: int = 0
    dtype: str | None = None


@dataclass(frozen=True)
class Contest:
    """Peers that do the same work; the first is what the others are compared with.

    Attributes:
        title: What the work is, such as an operator and a shape.
        run: Which part of it, such as 'forward'.
        peers: The ways to do it.
        images: How many pictures one call takes; None where they are not what counts.
        in_torch: Whether PyTorch computes it, whose memory can be counted.
    """

    title: str
    run: str
    peers: Sequence[Peer]
    images: int | None = None
    in_torch: bool = True


class Bench:
    """A device with its limits, and how long to measure on it.

    Args:
        device: 'cpu' or 'cuda'.
        dtype: A key of `DTYPES`.
        short: Whether to measure small sizes, and not for long.
        only: Measure titles that contain this text alone.
        size: Height and width of pictures, in place of those of a suite.
        data: Folder of the folders of data, such as 'coco'; None takes the embedded pictures.
    """

    def __init__(
        self,
        device: str = 'cpu',
        dtype: str = 'float32',
        short: bool = False,
        only: str = '',
        size: tuple[int, int] | None = None,
        data: Path | None = None,
    ) -> None:
        self.device, self.dtype, self.short, self.size = torch.device(device), dtype, short, size
        self.only, self.data = only.lower(), data
        self.effort = EFFORTS[short]

    @property
    def torch_dtype(self) -> torch.dtype:
        """What operators compute in, networks under autocast."""
        return DTYPES[self.dtype]

    def autocast(self, half: bool = False) -> torch.autocast:
        """Where networks run: mixed precision if the dtype is not float32, or bf16 if `half`."""
        dtype = torch.bfloat16 if half else self.torch_dtype
        enabled = dtype is not torch.float32
        return torch.autocast(self.device.type, dtype if enabled else None, enabled=enabled)

    def limits(self, dtype: str | None = None) -> Limits:
        """What the device reaches at best in a dtype, the benchmark's own if None."""
        return measured_limits(self.device, DTYPES[dtype or self.dtype], self.short)

    def wanted(self, title: str) -> bool:
        """Whether the user asked for this title."""
        return self.only in title.lower()

    def rows(self, contest: Contest) -> Iterator[Row]:
        """Measure a contest: a row for each peer."""
        seconds = self._in_turn(contest.peers)
        baseline = seconds[0]
        for peer, turns in zip(contest.peers, seconds, strict=True):
            ratios = [base / own for base, own in zip(baseline, turns, strict=True)]
            median = statistics.median(turns)
            least = self.limits(peer.dtype).seconds(peer.moved, peer.operations)
            yield Row(
                title=contest.title,
                run=contest.run,
                peer=peer.name,
                chosen=peer.chosen,
                milliseconds=[1e3 * value for value in quartiles(turns)],
                speedup=[statistics.median(ratios), min(ratios), max(ratios)],
                memory=peak_memory(self.device, peer.run) if contest.in_torch else None,
                share=least / median if least else None,
                rate=contest.images and contest.images / median,
            )

    def _in_turn(self, peers: Sequence[Peer]) -> list[list[float]]:
        """Seconds of one call, of each peer in each round; another one begins each round."""
        calls = []
        for peer in peers:
            peer.run()  # what is done once: compilation, caches, first touch of memory
            once = synchronized(self.device, peer.run)
            calls.append(max(1, math.ceil(self.effort.seconds / once)))
        seconds = [[] for _ in peers]
        for turn in range(self.effort.rounds):
            for i in range(len(peers)):
                at = (turn + i) % len(peers)
                taken = synchronized(self.device, peers[at].run, calls[at])
                seconds[at].append(taken / calls[at])
        return seconds

    def median(self, function: Callable[[], object]) -> float:
        """Seconds of one call, by itself."""
        return statistics.median(self._in_turn([Peer('', function)])[0])


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the quartiles below and above it."""
    low, median, high = statistics.quantiles(values, n=4, method='inclusive')
    return median, low, high


def peak_memory(device: torch.device, function: Callable[[], object]) -> int:
    """Bytes of the tensors that live at once in a call, at most, beside those before it.

    On the CPU PyTorch's profiler records every allocation: exact, but blind to what a library
    takes for itself. On a GPU its allocator keeps the peak.
    """
    if device.type == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    recorder = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)
    with _quiet(), recorder as recorded:
        function()
    events = recorded.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]')
    return max(accumulate((nbytes for _, nbytes in changes), initial=0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what C++ writes to the standard error: the profiler's own log."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def growth_exponent(pixels: Sequence[int], seconds: Sequence[float]) -> float:
    """The e of seconds ~ pixels ** e that fits best, in logarithms: 1 is linear."""
    return statistics.linear_regression(
        [math.log(n) for n in pixels], [math.log(t) for t in seconds]
    ).slope
