"""The depthwise convolution as it is defined: one tap after the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """(N, C, H, W) to (N, C, H, W)."""
    (height, width), k = x.shape[2:], weight.shape[-1]
    before, after = dilation * (k - 1) // 2, (dilation * (k - 1) + 1) // 2
    padded = F.pad(x, (before, after, before, after))
    out = torch.zeros_like(x)
    for i in range(k):
        for j in range(k):
            shifted = padded[:, :, i * dilation :, j * dilation :][:, :, :height, :width]
            out = out + weight[:, :, i, j, None] * shifted
    return out if bias is None else out + bias[:, None, None]
