"""Relative attention as it is defined: one query after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias_table: Tensor | None,
    size: tuple[int, int],
    scale: float,
    position: str,
) -> Tensor:
    """(N, heads, H * W, d) and (N, heads, H * W, dv) to (N, heads, H * W, dv)."""
    height, width = size
    token = torch.arange(height * width, device=query.device)
    y, x = token // width, token % width
    out = torch.empty_like(value)
    for i in range(height * width):
        logits = scale * torch.einsum('nhd,nhjd->nhj', query[:, :, i], key)
        bias = 0
        if bias_table is not None:
            bias = bias_table[:, y[i] - y + height - 1, x[i] - x + width - 1]  # (heads, j)
        if position == 'pre_softmax':
            weights = (logits + bias).softmax(dim=2)
        else:
            weights = logits.softmax(dim=2) + bias
        out[:, :, i] = torch.einsum('nhj,nhjv->nhv', weights, value)
    return out
