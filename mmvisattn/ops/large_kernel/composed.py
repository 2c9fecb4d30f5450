"""Large kernel attention as depthwise convolutions of any kind, a 1 x 1 one and a product."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..pointwise import pointwise_conv2d
from ..tensors import memory_format


def composed(
    depthwise_conv2d: Callable[..., Tensor],
    inside: torch.memory_format = torch.preserve_format,
) -> Callable[..., Tensor]:
    """The operator as a function of its arguments.

    Args:
        depthwise_conv2d: Computes both depthwise convolutions.
        inside: How maps lie in memory until the result is handed out as the input came.
    """

    def large_kernel_attention(
        x: Tensor,
        depthwise_weight: Tensor,
        depthwise_bias: Tensor | None,
        dilated_weight: Tensor,
        dilated_bias: Tensor | None,
        pointwise_weight: Tensor,
        pointwise_bias: Tensor | None,
        dilation: int,
    ) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        pixels = x.to(memory_format=inside)
        gate = depthwise_conv2d(pixels, depthwise_weight, depthwise_bias, 1)
        gate = depthwise_conv2d(gate, dilated_weight, dilated_bias, dilation)
        gate = pointwise_conv2d(gate, pointwise_weight, pointwise_bias)
        out = pixels * gate
        kept = inside == torch.preserve_format
        return out if kept else out.contiguous(memory_format=memory_format(x))

    return large_kernel_attention
