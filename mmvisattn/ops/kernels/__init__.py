"""Kernels in Triton, for CUDA: one file for each way to compute, for the operators that use it.

Triton is imported when one of them runs for the first time, and is needed by nothing else.
`MMVISATTN_TRITON=1` prefers them wherever they can run.
"""

from __future__ import annotations

from torch import Tensor

from .launch import BY_REQUEST, why_not

__all__ = ['BY_REQUEST', 'cycle_fc', 'depthwise_conv2d', 'why_not', 'why_not_cycle_fc']

LONGEST_CYCLE = 16


def depthwise_conv2d(x: Tensor, *args: object) -> Tensor:
    """Each channel with a kernel of its own, by `depthwise.py`."""
    from .depthwise import depthwise_conv2d as run

    return run(x, *args)


def cycle_fc(x: Tensor, *args: object) -> Tensor:
    """A product over shifted channels, by `shifted_product.py`."""
    from .shifted_product import cycle_fc as run

    return run(x, *args)


def why_not_cycle_fc(
    x: Tensor, weight: Tensor, bias: Tensor | None, step_size: tuple[int, int], order: str
) -> str | None:
    """Why Triton cannot compute a CycleFC, or None if it can."""
    if step_size[0] * step_size[1] > LONGEST_CYCLE:
        return f'it reads the map once for each pixel of the cycle, {LONGEST_CYCLE} at most'
    # The result is as large as x with its channels.
    return why_not(x, weight, bias, x[:, :1].expand(-1, weight.shape[0], -1, -1))
