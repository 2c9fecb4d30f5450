"""Let all processes act on the same step: one that is asked to stop does not stop alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed

from .launch import control_group

T = TypeVar('T')


def any_process(answer: bool) -> bool:
    """Whether any process says yes; all of them must ask, and wait for each other."""
    group = control_group()
    if group is None:
        return answer
    shared = torch.tensor([answer], dtype=torch.uint8)
    distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=group)
    return bool(shared)


def from_main(compute: Callable[[], T]) -> T:
    """What process 0 computes, in all processes; they wait for it."""
    group = control_group()
    if group is None:
        return compute()
    shared = [compute() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(shared, src=0, group=group)
    return shared[0]


@dataclass
class Agreement:
    """Yes or no to a few questions, once a step; any process's yes is everybody's.

    The answers are under way while the next step is computed, so that nobody waits for them: with
    several processes they hold one step later.

    Args:
        questions: How many.
    """

    questions: int

    def __post_init__(self) -> None:
        self._waiting: tuple[torch.Tensor, distributed.Work] | None = None

    def ask(self, *answers: bool) -> list[bool]:
        """Give this process's answers; all processes must ask equally often.

        Returns:
            Whether any process said yes, to each question; with several processes, the last time.
        """
        group = control_group()
        if group is None:
            return list(answers)
        shared = torch.tensor(answers, dtype=torch.uint8)
        work = distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=group, async_op=True)
        earlier, self._waiting = self._waiting, (shared, work)
        return self._settled(earlier)

    def settle(self) -> list[bool]:
        """The answers that are still under way; none are afterwards."""
        earlier, self._waiting = self._waiting, None
        return self._settled(earlier)

    def _settled(self, waiting: tuple[torch.Tensor, distributed.Work] | None) -> list[bool]:
        if waiting is None:
            return [False] * self.questions
        shared, work = waiting
        work.wait()
        return shared.bool().tolist()
