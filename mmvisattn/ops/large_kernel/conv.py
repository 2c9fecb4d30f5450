"""Large kernel attention as three stock convolutions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


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
    gate = _depthwise(x, depthwise_weight, depthwise_bias, 1)
    gate = _depthwise(gate, dilated_weight, dilated_bias, dilation)
    return x * F.conv2d(gate, pointwise_weight, pointwise_bias)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] - 1)
    if padding % 2:  # conv2d pads both sides alike
        x = F.pad(x, (0, 1, 0, 1))
    return F.conv2d(x, weight, bias, 1, padding // 2, dilation, groups=x.shape[1])
