"""Gradient checkpointing that changes nothing but memory and time."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)`, keeping `x` alone and computing the rest again in the backward pass.

    Not reentrant, so that the first module of a network gets its gradient too (the picture itself
    needs none, and the reentrant form then passes nothing on). BatchNorm sees the batch twice but
    counts it once: the running statistics end as they would without checkpointing.
    """
    if torch.compiler.is_compiling():  # the compiler's own recomputation counts the batch once
        return checkpoint(module, x, use_reentrant=False)
    return checkpoint(
        module,
        x,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _running_statistics_kept(module)),
    )


@contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Let BatchNorm layers normalise by the batch without updating their running statistics."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    counters = [norm.num_batches_tracked.clone() for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum, counter in zip(norms, momenta, counters, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(counter)
