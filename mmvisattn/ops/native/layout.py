"""How maps lie in memory, changed faster than by PyTorch's copy, which moves single numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from . import maps


def laid_out(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """A map (N, C, H, W) in that format, itself if it is."""
    if x.is_contiguous(memory_format=memory_format):
        return x
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    if dense and x.dtype in (torch.float32, torch.float64):
        return _turned(x, memory_format == torch.channels_last)
    return x.contiguous(memory_format=memory_format)


def _format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


@torch.library.custom_op(
    'mmvisattn::native_layout',
    mutates_args=(),
    device_types='cpu',
    schema='(Tensor x, bool channels_last) -> Tensor',
)
def _turned(x: Tensor, channels_last: bool) -> Tensor:
    """A contiguous map made channels-last, or the reverse."""
    return maps.turned(x, _format(channels_last))


@_turned.register_fake
def _(x: Tensor, channels_last: bool) -> Tensor:
    return torch.empty_like(x, memory_format=_format(channels_last))


def _keep(ctx, inputs: tuple, output: Tensor) -> None:
    ctx.channels_last = inputs[1]


def _turn_back(ctx, grad: Tensor) -> tuple[Tensor, None]:
    return laid_out(grad, _format(not ctx.channels_last)), None


_turned.register_autograd(_turn_back, setup_context=_keep)
