"""The depthwise convolution as a dense one of the map's phases.

Pixels whose distance is the dilation d meet no others. Each of the d * d pictures that they form is
convolved without dilation, which libraries do several times faster.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tensors import memory_format


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """(N, C, H, W) to (N, C, H, W), in memory as `x`."""
    (n, c, height, width), k, d = x.shape, weight.shape[-1], dilation
    kept = memory_format(x)
    x = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)  # (N, H, W, C)
    padding = (k - 1) // 2
    before = d * (k - 1) // 2 - d * padding  # what an even kernel reaches beyond whole phases
    # An even kernel makes a phase one pixel shorter.
    rows, columns = (-(-size // d) + (k + 1) % 2 for size in (height, width))
    below, right = d * rows - before - height, d * columns - before - width
    if before or right or below:
        x = F.pad(x, (0, 0, before, right, before, below))
    x = x.reshape(n, rows, d, columns, d, c).permute(0, 2, 4, 1, 3, 5)
    x = x.reshape(n * d * d, rows, columns, c).permute(0, 3, 1, 2)
    x = F.conv2d(x, weight, bias, 1, padding, groups=c)
    rows, columns = x.shape[2:]
    x = x.permute(0, 2, 3, 1).reshape(n, d, d, rows, columns, c).permute(0, 3, 1, 4, 2, 5)
    x = x.reshape(n, d * rows, d * columns, c)[:, :height, :width]
    return x.permute(0, 3, 1, 2).contiguous(memory_format=kept)
