"""Large kernel attention (VAN, Guo et al., CVMJ 2023, arXiv:2202.09741, Figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import kernels
from ..backends import Backend, Call, dispatch, precisely
from ..depthwise import conv, phases, why_not_native, why_not_phases
from ..tensors import expect_dilation, expect_shape
from . import fused
from .composed import composed
from .naive import large_kernel_attention as defined

__all__ = ['large_kernel_attention']

BACKENDS = (
    Backend(
        'triton',
        composed(kernels.depthwise_conv2d, torch.channels_last),
        kernels.why_not,
        kernels.BY_REQUEST,
    ),
    Backend('native', fused.large_kernel_attention, why_not_native),
    Backend('phases', composed(phases.depthwise_conv2d, torch.channels_last), why_not_phases),
    Backend('conv', composed(conv.depthwise_conv2d)),
    Backend('naive', precisely(defined), by_request=True),
)


def large_kernel_attention(
    x: Tensor,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor | None,
    dilated_weight: Tensor,
    dilated_bias: Tensor | None,
    pointwise_weight: Tensor,
    pointwise_bias: Tensor | None,
    *,
    dilation: int = 3,
    backend: str | None = None,
) -> Tensor:
    """Gate a map by a large convolution of itself, made of three cheap ones.

        out = x * pointwise(dilated(depthwise(x)))

    Every convolution keeps the size: it pads dilation * (k - 1) zeros, half of them on each side,
    the odd one after. VAN takes k0 = 5, k1 = 7 and dilation 3, which cover 23 x 23 pixels.

    Args:
        x: Map (N, C, H, W).
        depthwise_weight: (C, 1, k0, k0).
        depthwise_bias: (C,), or None.
        dilated_weight: (C, 1, k1, k1).
        dilated_bias: (C,), or None.
        pointwise_weight: (C, C, 1, 1).
        pointwise_bias: (C,), or None.
        dilation: Distance of the taps of the dilated convolution.
        backend: Name of the backend; None takes the best.

    Returns:
        Map (N, C, H, W).

    Raises:
        UserError: Shapes that do not fit together, a dilation below 1, or a backend that does not
            exist or cannot run.
    """
    expect_shape('x', x, 'NCHW')
    n, c, h, w = x.shape
    k0, k1 = depthwise_weight.shape[-1], dilated_weight.shape[-1]
    expect_shape('depthwise_weight', depthwise_weight, (c, 1, k0, k0))
    expect_shape('depthwise_bias', depthwise_bias, (c,))
    expect_shape('dilated_weight', dilated_weight, (c, 1, k1, k1))
    expect_shape('dilated_bias', dilated_bias, (c,))
    expect_shape('pointwise_weight', pointwise_weight, (c, c, 1, 1))
    expect_shape('pointwise_bias', pointwise_bias, (c,))
    expect_dilation(dilation)
    return dispatch(
        Call(
            'large_kernel_attention',
            BACKENDS,
            backend,
            args=(
                x,
                depthwise_weight,
                depthwise_bias,
                dilated_weight,
                dilated_bias,
                pointwise_weight,
                pointwise_bias,
                dilation,
            ),
            shape=(n, c, h, w),
            multiply_adds=n * h * w * (c * k0**2 + c * k1**2 + c**2),
        )
    )
