"""Relative attention by PyTorch's own attention, some rows of queries at a time.

With its keys in reverse order, row yi, column xi of the queries has for bias the H x W window of
the table that begins at (yi, xi): a view of the table, without an index. The order of keys is
nothing to a softmax, nor to the sum after it.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tensors import piecewise

# Logits of one chunk for each picture of a batch: 32 MiB in float32, and twice that kept by a layer
# in training, but only where all fit into one chunk. 384 x 384 pictures with 12 heads at stride 16
# do; larger ones keep no logits at all. A chunk has at least one row of queries.
CHUNK_ELEMENTS = 2**23


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
    _, heads, tokens, _ = query.shape
    height, width = size
    rows = max(1, CHUNK_ELEMENTS // (heads * width * tokens))
    chunks = query.split(rows * width, dim=2)
    tables = [None] * len(chunks)
    if bias_table is not None:
        key, value = key.flip(2), value.flip(2)
        table = bias_table.to(query.dtype)
        tables = [table[:, y : y + rows + height - 1] for y in range(0, height, rows)]
    attend = partial(_attend, size=size, scale=scale, position=position)
    pieces = [(q, key, value, table) for q, table in zip(chunks, tables, strict=True)]
    return piecewise(attend, pieces, dim=2)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table: Tensor | None,
    *,
    size: tuple[int, int],
    scale: float,
    position: str,
) -> Tensor:
    """Attend from some rows of queries, by the rows of the table that they need."""
    if table is None:
        return F.scaled_dot_product_attention(query, key, value, scale=scale)
    height, width = size
    windows = table.unfold(1, height, 1).unfold(2, width, 1)  # (heads, rows, W, H, W)
    bias = windows.flatten(3).flatten(1, 2)  # (heads, queries, keys)
    if position == 'pre_softmax':
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None], scale=scale)
    attended = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return attended + torch.einsum('hqk,nhkv->nhqv', bias, value)
