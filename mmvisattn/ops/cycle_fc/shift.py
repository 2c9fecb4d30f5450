"""CycleFC as shifts of the map and one 1 x 1 convolution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tensors import memory_format
from .offsets import period_offsets


def cycle_fc(
    x: Tensor, weight: Tensor, bias: Tensor | None, step_size: tuple[int, int], order: str
) -> Tensor:
    """(N, C, H, W) to (N, O, H, W).

    Channels r, r + period, r + 2 * period ... look the same way: they are one slice of the padded
    map. The slices are joined as they come; the weight's columns follow them.
    """
    height, width = x.shape[2:]
    offsets = period_offsets(step_size, order)
    period = len(offsets)
    pad_y, pad_x = step_size[0] // 2, step_size[1] // 2
    padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y))
    slices = [
        padded[:, r::period, pad_y + dy :, pad_x + dx :][:, :, :height, :width]
        for r, (dy, dx) in enumerate(offsets)
    ]
    columns = torch.cat([weight[:, r::period] for r in range(period)], dim=1)
    if memory_format(x) is torch.channels_last:
        # torch.cat keeps the format of whole maps, not that of every third channel
        shifted = torch.cat([s.permute(0, 2, 3, 1) for s in slices], dim=3).permute(0, 3, 1, 2)
    else:
        shifted = torch.cat(slices, dim=1)
    return F.conv2d(shifted, columns, bias)
