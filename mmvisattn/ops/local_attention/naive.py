"""Local attention as it is defined: one pixel after the other, each with its neighbours."""

from __future__ import annotations

import torch
from torch import Tensor


def local_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    kernel_size: int,
    num_heads: int,
    scale: float,
) -> Tensor:
    """(N, C, H, W) and (N, Cv, H, W) to (N, Cv, H, W); a and b are neighbouring rows, columns."""
    (height, width), radius = query.shape[2:], kernel_size // 2
    heads = (num_heads, -1)
    out = torch.empty_like(value)
    for i in range(height):
        for j in range(width):
            a = torch.arange(max(i - radius, 0), min(i + radius + 1, height), device=query.device)
            b = torch.arange(max(j - radius, 0), min(j + radius + 1, width), device=query.device)
            q = query[:, :, i, j].unflatten(1, heads)  # (N, heads, d)
            v = value[:, :, a][..., b].unflatten(1, heads)  # (N, heads, dv, a, b)
            logits = 0
            if key is not None:
                k = key[:, :, a][..., b].unflatten(1, heads)
                logits = torch.einsum('nhd,nhdab->nhab', q, k)
            if row_embedding is not None:
                row = row_embedding[:, a - i + radius, None].expand(-1, -1, len(b), -1)
                column = column_embedding[:, None, b - j + radius].expand(-1, len(a), -1, -1)
                r = torch.cat([row, column], dim=3)  # (heads, a, b, d)
                logits = logits + torch.einsum('nhd,habd->nhab', q, r)
            weights = (scale * logits).flatten(2).softmax(2).view_as(logits)
            out[:, :, i, j] = torch.einsum('nhab,nhvab->nhv', weights, v).flatten(1)
    return out
