"""Depthwise convolution that keeps the size, with dilation: what large kernels are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import kernels, native
from ..backends import Backend, Call, dispatch, precisely
from ..tensors import (
    dtype_under_autocast,
    expect_dilation,
    expect_shape,
    exporting,
    needs_gradient,
    transformed,
)
from . import conv, naive, phases

__all__ = ['depthwise_conv2d', 'why_not_native', 'why_not_phases']


def why_not_phases(x: Tensor, *args: object) -> str | None:
    """Why 'phases' does not compute a call, of this operator or of one that is built on it."""
    if x.device.type != 'cpu':
        return f'it is for CPUs, and x is on {x.device.type}'
    if exporting():
        return 'an exported graph holds the convolutions themselves'
    if transformed():
        return 'torch.func and forward derivatives go through the convolutions themselves'
    return None


def why_not_native(x: Tensor, *args: object) -> str | None:
    """Why 'native' does not compute a call, of this operator or of one that is built on it."""
    if not x.is_floating_point():
        return f'it computes floating-point numbers, not {x.dtype}'
    return why_not_phases(x) or native.why_not()


BACKENDS = (
    Backend('triton', kernels.depthwise_conv2d, kernels.why_not, kernels.BY_REQUEST),
    Backend('native', native.depthwise_conv2d, why_not_native),
    Backend('phases', phases.depthwise_conv2d, why_not_phases),
    Backend('conv', conv.depthwise_conv2d),
    Backend('naive', precisely(naive.depthwise_conv2d), by_request=True),
)


def _is_pytorchs(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> bool:
    """Whether PyTorch's own convolution is the fastest on a CPU, in either memory format.

    It was wherever no dilation slows it down (4 to 46 times), nor the gradients of a kernel larger
    than 3 x 3 (2 to 21 times): measured in float32 at 64 to 1280 channels and 16 x 16 to 128 x 128
    pixels. In bf16 it is as fast, in float64 and fp16 it is slow (20 to 150 times).
    """
    if x.device.type != 'cpu' or dilation != 1:
        return False
    fast = weight.shape[-1] <= 3 or not needs_gradient(x, weight, bias)
    return fast and dtype_under_autocast(x) in (torch.float32, torch.bfloat16)


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int = 1,
    backend: str | None = None,
) -> Tensor:
    """Convolve each channel with a kernel of its own, and keep the size.

    It pads dilation * (k - 1) zeros, half of them on each side, the odd one after: what
    `nn.Conv2d(..., padding='same', groups=C)` does.

    Args:
        x: Map (N, C, H, W).
        weight: (C, 1, k, k).
        bias: (C,), or None.
        dilation: Distance of the taps.
        backend: Name of the backend; None takes the best.

    Returns:
        Map (N, C, H, W), in memory as `x`.

    Raises:
        UserError: Shapes that do not fit together, a dilation below 1, or a backend that does not
            exist or cannot run.
    """
    expect_shape('x', x, 'NCHW')
    n, c, h, w = x.shape
    k = weight.shape[-1]
    expect_shape('weight', weight, (c, 1, k, k))
    expect_shape('bias', bias, (c,))
    expect_dilation(dilation)
    if backend is None and _is_pytorchs(x, weight, bias, dilation):
        backend = 'conv'
    return dispatch(
        Call(
            'depthwise_conv2d',
            BACKENDS,
            backend,
            args=(x, weight, bias, dilation),
            shape=(n, c, h, w),
            multiply_adds=n * h * w * c * k**2,
        )
    )
