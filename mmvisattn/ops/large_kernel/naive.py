"""Large kernel attention as it is defined."""

from __future__ import annotations

import torch
from torch import Tensor

from ..depthwise.naive import depthwise_conv2d


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
    gate = depthwise_conv2d(x, depthwise_weight, depthwise_bias, 1)
    gate = depthwise_conv2d(gate, dilated_weight, dilated_bias, dilation)
    gate = torch.einsum('nchw,oc->nohw', gate, pointwise_weight[:, :, 0, 0])
    return x * (gate if pointwise_bias is None else gate + pointwise_bias[:, None, None])
