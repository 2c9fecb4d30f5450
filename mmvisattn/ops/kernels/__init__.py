"""Kernels in Triton, for CUDA: one file for each way to compute, for the operators that use it.

Triton is imported when one of them runs for the first time, and is needed by nothing else.
`MMVISATTN_TRITON=1` prefers them wherever they can run.
"""

from __future__ import annotations

from torch import Tensor

from ..tensors import as_products_take
from .launch import BY_REQUEST, why_not

__all__ = [
    'BY_REQUEST',
    'cycle_fc',
    'depthwise_conv2d',
    'local_attention',
    'relative_attention',
    'why_not',
    'why_not_cycle_fc',
    'why_not_local_attention',
    'why_not_relative_attention',
]

LONGEST_CYCLE = 16
LARGEST_SQUARE = 31
HEAD_BYTES = 256


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


def local_attention(query: Tensor, *args: object) -> Tensor:
    """Attention from each pixel to a square, by `square_attention.py`."""
    from .square_attention import local_attention as run

    return run(query, *args)


def why_not_local_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    kernel_size: int,
    num_heads: int,
    scale: float,
) -> str | None:
    """Why Triton cannot compute a local attention, or None if it can."""
    if kernel_size > LARGEST_SQUARE:
        return f'it holds the logits of all rows of the square, {LARGEST_SQUARE} at most'
    return (
        _why_not_heads(query, query.shape[1] // num_heads)
        or _why_not_heads(value, value.shape[1] // num_heads)
        or why_not(query, key, value, row_embedding, column_embedding)
    )


def relative_attention(query: Tensor, *args: object) -> Tensor:
    """Attention of all tokens with a bias, by `biased_attention.py`."""
    from .biased_attention import relative_attention as run

    return run(query, *args)


def why_not_relative_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias_table: Tensor | None,
    size: tuple[int, int],
    scale: float,
    position: str,
) -> str | None:
    """Why Triton cannot compute a relative attention, or None if it can."""
    if bias_table is None:
        return 'without a bias it is what PyTorch itself has'
    if position != 'pre_softmax':
        return 'it adds the bias before the softmax'
    return (
        _why_not_heads(query, query.shape[3])
        or _why_not_heads(value, value.shape[3])
        or why_not(query, key, value, bias_table)
    )


def _why_not_heads(x: Tensor, channels: int) -> str | None:
    """Why a program cannot hold heads of so many channels, or None if it can."""
    if channels * as_products_take(x)[0].element_size() > HEAD_BYTES:
        return f'a pixel of a head takes {HEAD_BYTES} bytes at most'
    return None
