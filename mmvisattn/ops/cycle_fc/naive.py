"""CycleFC as it is defined: one channel after the other, each from its own pixel."""

from __future__ import annotations

import torch
from torch import Tensor


def cycle_fc(
    x: Tensor, weight: Tensor, bias: Tensor | None, step_size: tuple[int, int], order: str
) -> Tensor:
    """(N, C, H, W) to (N, O, H, W); the rule of the offsets stands here a second time."""
    n, channels, height, width = x.shape
    s_h, s_w = step_size
    out = x.new_zeros(n, weight.shape[0], height, width)
    for c in range(channels):
        if order == 'paper':
            dy, dx = c % s_h - s_h // 2, c // s_h % s_w - s_w // 2
        elif s_h == 1:
            dy, dx = 0, (c + s_w // 2) % s_w - s_w // 2
        else:
            dy, dx = (c + s_h // 2) % s_h - s_h // 2, 0
        rows = torch.arange(height, device=x.device) + dy
        columns = torch.arange(width, device=x.device) + dx
        inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        pixels = x[:, c, rows][:, :, columns] * inside  # (N, H, W)
        out = out + pixels[:, None] * weight[:, c]
    return out if bias is None else out + bias[:, None, None]
