"""Large kernel attention as it is defined: one tap after the other."""

from __future__ import annotations

import torch
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
    gate = torch.einsum('nchw,oc->nohw', gate, pointwise_weight[:, :, 0, 0])
    return x * _plus(gate, pointwise_bias)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    (height, width), k = x.shape[2:], weight.shape[-1]
    before, after = dilation * (k - 1) // 2, (dilation * (k - 1) + 1) // 2
    padded = F.pad(x, (before, after, before, after))
    out = torch.zeros_like(x)
    for i in range(k):
        for j in range(k):
            shifted = padded[:, :, i * dilation :, j * dilation :][:, :, :height, :width]
            out = out + weight[:, :, i, j, None] * shifted
    return _plus(out, bias)


def _plus(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias[:, None, None]
