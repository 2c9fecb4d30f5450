"""How a call of an operator finds the code that computes it.

A public function checks its arguments and hands a `Call` to `dispatch`. An operator lists its
backends in order of preference: the last but one runs everywhere, and the last is 'naive', the
definition. That and others may run only if they are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError, did_you_mean
from .tensors import without_autocast


def _runs_everywhere(*args: object, **kwargs: object) -> None:
    """Why a backend without conditions cannot run: no reason."""


@dataclass(frozen=True)
class Backend:
    """One way to compute an operator.

    Args:
        name: What `backend=` calls it.
        run: The computation.
        why_not: Takes the same arguments; returns why they cannot be run, or None if they can.
        by_request: Whether it runs only where `backend=` names it.
    """

    name: str
    run: Callable[..., Tensor]
    why_not: Callable[..., str | None] = _runs_everywhere
    by_request: bool = False


def precisely(definition: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same in float32 at least, autocast or not, with the dtype of its first argument."""

    def run(*args: object) -> Tensor:
        dtype = args[0].dtype
        precise = torch.promote_types(dtype, torch.float32)
        with without_autocast(args[0].device.type):
            out = definition(*(a.to(precise) if isinstance(a, Tensor) else a for a in args))
        return out.to(dtype)

    return run


@dataclass(frozen=True)
class Call:
    """One call of an operator, its arguments checked and nothing computed yet.

    Args:
        operator: Name of the public function.
        backends: All there are, preferred first, 'naive' last.
        forced: Name of the backend that the caller asked for, or None.
        args: What the backend is called with; the first is a tensor of the result's dtype.
        shape: Shape of the result.
        multiply_adds: Cost of the call, the same for every backend.
        logits: How many numbers its softmax normalises.
    """

    operator: str
    backends: tuple[Backend, ...]
    forced: str | None
    args: tuple
    shape: tuple[int, ...]
    multiply_adds: int
    logits: int = 0

    def chosen(self) -> Backend:
        """The backend that the caller forced, or the first that can run.

        Raises:
            UserError: The forced one does not exist or cannot run.
        """
        if self.forced is None:
            automatic = (b for b in self.backends if not b.by_request)
            return next(b for b in automatic if b.why_not(*self.args) is None)
        named = {b.name: b for b in self.backends}
        if self.forced not in named:
            raise UserError(
                f'{self.operator} has no such backend',
                expected=', '.join(named),
                got=self.forced,
                do=did_you_mean(self.forced, list(named)),
            )
        reason = named[self.forced].why_not(*self.args)
        if reason is not None:
            raise UserError(
                f"backend '{self.forced}' of {self.operator} cannot run here",
                got=reason,
                do='leave `backend` out to take the best that can',
            )
        return named[self.forced]


# What happens to a call instead of its computation, inside `computed_by`, `counting` and `explain`.
# A plain global, which every thread sees, because torch.compile does not trace context variables.
_instead: Callable[[Call], object] | None = None


def dispatch(call: Call) -> Tensor:
    """Compute `call` by the backend that it chooses.

    Raises:
        UserError: The forced backend does not exist or cannot run.
    """
    backend = call.chosen()
    return backend.run(*call.args) if _instead is None else _instead(call)


@contextmanager
def _calls_go_to(function: Callable[[Call], object]) -> Iterator[None]:
    global _instead
    before, _instead = _instead, function
    try:
        yield
    finally:
        _instead = before


@contextmanager
def recording() -> Iterator[list[Call]]:
    """Note the calls of operators, which are computed as always."""
    calls: list[Call] = []

    def compute(call: Call) -> Tensor:
        calls.append(call)
        return call.chosen().run(*call.args)

    with _calls_go_to(compute):
        yield calls


class Counts(Counter[str]):
    """The multiply-adds of each operator; `logits` is how many numbers went through a softmax."""

    logits = 0


@contextmanager
def computed_by(functions: Mapping[str, Callable[..., Tensor]]) -> Iterator[None]:
    """Compute operators by functions that are no backends of theirs, to compare with.

    Args:
        functions: {name of an operator: what takes the arguments of its backends}; the others
            are computed as always.
    """

    def compute(call: Call) -> Tensor:
        return functions.get(call.operator, call.chosen().run)(*call.args)

    with _calls_go_to(compute):
        yield


@contextmanager
def counting() -> Iterator[Counts]:
    """Count the multiply-adds of operators in place of computing them.

    Inside, they return memory of the right shape that nobody has written. A network on the meta
    device is counted without any memory at all.

    Examples:
        >>> from mmvisattn.ops import channel_fc
        >>> x, weight = (torch.empty(s, device='meta') for s in [(2, 8, 5, 5), (4, 8, 1, 1)])
        >>> with counting() as multiply_adds:
        ...     tuple(channel_fc(x, weight).shape)
        (2, 4, 5, 5)
        >>> multiply_adds['channel_fc'] == 2 * 5 * 5 * 8 * 4
        True
    """
    counter = Counts()

    def count(call: Call) -> Tensor:
        counter[call.operator] += call.multiply_adds
        counter.logits += call.logits
        return call.args[0].new_empty(call.shape)

    with _calls_go_to(count):
        yield counter


def explain(operator: Callable[..., Tensor], *args: object, **kwargs: object) -> dict[str, str]:
    """Say of each backend of an operator whether this call would take it, computing nothing.

    Raises:
        UserError: Arguments that the operator refuses.

    Examples:
        >>> from mmvisattn.ops import cycle_fc
        >>> verdicts = explain(cycle_fc, torch.zeros(1, 8, 5, 5), torch.zeros(4, 8, 1, 1))
        >>> verdicts['shift'], verdicts['naive']
        ('chosen', 'can run, not preferred')
    """

    def verdicts(call: Call) -> dict[str, str]:
        chosen = call.chosen()
        return {
            b.name: 'chosen' if b is chosen else b.why_not(*call.args) or 'can run, not preferred'
            for b in call.backends
        }

    with _calls_go_to(verdicts):
        return operator(*args, **kwargs)
