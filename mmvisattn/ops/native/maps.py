"""What the C++ computes on maps, without derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from .build import call


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    before: int,
    product: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    out: Tensor | None = None,
) -> Tensor:
    """The depthwise convolution of maps that are channels-last.

    Args:
        x: Map (N, C, H, W).
        weight: (C, 1, k, k).
        bias: (C,), or None.
        dilation: Distance of the taps.
        before: Zeros on the left and at the top; the rest is on the other sides.
        product: Two maps whose product is added.
        out: A map to write into, none of the others.
    """
    out = torch.empty_like(x) if out is None else out
    taps = weight.flatten(1).T.contiguous()  # (k * k, C)
    bias = None if bias is None else bias.contiguous()
    _run_taps(
        'depthwise', x, taps, bias, *product, out, geometry=(weight.shape[-1], dilation, before)
    )
    return out


def tap_gradients(x: Tensor, grad: Tensor, k: int, dilation: int, before: int) -> Tensor:
    """The gradients of weight and bias, one under the other: (k * k + 1, C), of such maps."""
    out = x.new_empty(k * k + 1, x.shape[1])
    _run_taps('depthwise_weight_gradient', x, grad, out, geometry=(k, dilation, before))
    return out


def turned(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """A contiguous map made channels-last, or the reverse."""
    out = torch.empty_like(x, memory_format=memory_format)
    n, c, h, w = x.shape
    rows, columns = (c, h * w) if memory_format == torch.channels_last else (h * w, c)
    call('transpose', (x, out), (n, rows, columns), work=x.numel())
    return out


def _run_taps(name: str, x: Tensor, *others: Tensor | None, geometry: tuple[int, ...]) -> None:
    n, c, h, w = x.shape
    work = x.numel() * geometry[0] ** 2
    call(name, (x, *others), (n, h, w, c, *geometry), work=work)
