"""Relative attention as plain steps of any size: what an exported graph holds.

It has one bias for each pair of tokens, looked up in the table by their distance, and so needs
memory for all logits at once; in return no step of it depends on the size of the map.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..tensors import as_products_take


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
    query, key, value = as_products_take(query, key, value)
    logits = scale * query @ key.transpose(2, 3)
    if bias_table is None:
        return logits.softmax(3) @ value
    bias = bias_table.to(query.dtype).flatten(1)[:, _places(size, query.device)]
    if position == 'post_softmax':
        return (logits.softmax(3) + bias) @ value
    return (logits + bias).softmax(3) @ value


def _places(size: tuple[int, int], device: torch.device) -> Tensor:
    """Where the bias of each pair of tokens lies in a table row by row: (H * W, H * W)."""
    height, width = size
    y = torch.arange(height, device=device)[:, None].expand(-1, width).flatten()
    x = torch.arange(width, device=device).expand(height, -1).flatten()
    rows = y[:, None] - y + (height - 1)
    return rows * (2 * width - 1) + x[:, None] - x + (width - 1)
