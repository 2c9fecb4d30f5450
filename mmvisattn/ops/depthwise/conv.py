"""The depthwise convolution as PyTorch has it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """(N, C, H, W) to (N, C, H, W)."""
    padding = dilation * (weight.shape[-1] - 1)
    if padding % 2:  # conv2d pads both sides alike
        x = F.pad(x, (0, 1, 0, 1))
    return F.conv2d(x, weight, bias, 1, padding // 2, dilation, groups=x.shape[1])
