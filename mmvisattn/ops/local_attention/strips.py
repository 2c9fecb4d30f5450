"""Local attention as dense attention of small blocks, a strip of blocks at a time.

A block of queries shares one window of keys: the block and a halo around it. Each query sees its
own square of the window; a bias of minus infinity hides the rest. This bias, like the logits of
positions, is a sum of one part for rows and one for columns: two small tables, added at last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tensors import memory_format, piecewise

# Side of a block. Larger ones compute more logits that the bias hides, smaller ones copy keys more
# often; 4 and 8 were equally fast on CPU with 7 x 7 neighbours.
BLOCK = 8
# Logits of one strip: 64 MiB in float32, enough to keep a GPU busy, little for a layer to keep in
# training. A strip has at least one row of blocks, whose logits take about the room of a map.
STRIP_ELEMENTS = 2**24


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
    """(N, C, H, W) and (N, Cv, H, W) to (N, Cv, H, W), in the memory format of the query."""
    n, _, height, width = query.shape
    rows, columns = _Axis.cut(height, kernel_size), _Axis.cut(width, kernel_size)
    logits = n * num_heads * rows.pairs * columns.pairs * columns.blocks
    rows, per_strip = rows.in_strips(STRIP_ELEMENTS // max(1, logits))
    keys = [None] * (rows.blocks // per_strip)
    if key is not None:
        keys = _strips(key, rows, columns, per_strip)
    strips = zip(
        _strips(query, rows.without_halo(), columns.without_halo(), per_strip),
        keys,
        _strips(value, rows, columns, per_strip),
        rows.hidden(query.device).split(per_strip),
        strict=True,
    )
    attend = partial(
        _attend,
        hidden_columns=columns.hidden(query.device),
        row_embedding=rows.spread(row_embedding),
        column_embedding=columns.spread(column_embedding),
        rows=rows,
        columns=columns,
        num_heads=num_heads,
        scale=scale,
    )
    out = piecewise(attend, list(strips), dim=1)[:, :height, :width].permute(0, 3, 1, 2)
    return out.contiguous(memory_format=memory_format(query))


@dataclass(frozen=True)
class _Axis:
    """Rows or columns of a map, cut into blocks of queries, each with its window of keys.

    Args:
        length: Size of the map.
        radius: How far a query sees to either side.
        block: Queries of a block.
        blocks: Number of blocks; together they may exceed the map.
    """

    length: int
    radius: int
    block: int
    blocks: int

    @classmethod
    def cut(cls, length: int, kernel_size: int) -> _Axis:
        """Cut `length` into as few blocks as `BLOCK` allows, all of one size."""
        blocks = _ceil_div(length, BLOCK)
        radius = min(kernel_size // 2, length - 1)  # nothing lies farther away
        return cls(length, radius, _ceil_div(length, blocks), blocks)

    @property
    def window(self) -> int:
        """Keys of a block."""
        return self.block + 2 * self.radius

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key in one block."""
        return self.block * self.window

    @property
    def padding(self) -> tuple[int, int]:
        """What a map lacks before and after to hold every window."""
        return self.radius, self.radius + self.block * self.blocks - self.length

    def without_halo(self) -> _Axis:
        """The same blocks with themselves as windows."""
        return replace(self, radius=0)

    def in_strips(self, at_most: int) -> tuple[_Axis, int]:
        """This axis with blocks enough for equal strips, and the number of blocks in each."""
        strips = _ceil_div(self.blocks, max(1, at_most))
        per_strip = _ceil_div(self.blocks, strips)
        return replace(self, blocks=strips * per_strip), per_strip

    def steps(self, device: torch.device) -> Tensor:
        """From each query of a block to each key of its window (block, window), 0 to 2 radius.

        Keys that a query does not see have other numbers.
        """
        query = torch.arange(self.block, device=device)
        return torch.arange(self.window, device=device) - query[:, None]

    def hidden(self, device: torch.device) -> Tensor:
        """The keys that each query does not see, true in (blocks, block, window).

        Queries beyond the map see keys beyond it: a softmax over nothing would be NaN.
        """
        start = self.block * torch.arange(self.blocks, device=device)[:, None]
        query = start + torch.arange(self.block, device=device)
        key = start + torch.arange(self.window, device=device) - self.radius
        outside = (key < 0) | (key >= self.length)
        steps = self.steps(device)
        far = (steps < 0) | (steps > 2 * self.radius)
        return far | (outside[:, None] & (query < self.length)[:, :, None])

    def spread(self, embedding: Tensor | None) -> Tensor | None:
        """The embedding (heads, kernel_size, d / 2) as (heads, block, window, d / 2)."""
        if embedding is None:
            return None
        middle = embedding.shape[1] // 2
        seen = self.steps(embedding.device).clamp(0, 2 * self.radius)
        return embedding[:, seen + middle - self.radius]


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _strips(x: Tensor, rows: _Axis, columns: _Axis, per_strip: int) -> tuple[Tensor, ...]:
    """Cut a map (N, C, H, W) into overlapping strips (N, C, rows, columns) with their halo.

    One unfolded view, because the gradient of many slices would fill a whole map for each.
    """
    height = per_strip * rows.block
    padded = F.pad(x, (*columns.padding, *rows.padding))
    return padded.unfold(2, height + 2 * rows.radius, height).movedim(-1, 3).unbind(2)


def _windows(strip: Tensor, rows: _Axis, columns: _Axis, num_heads: int) -> Tensor:
    """Cut a strip (N, C, rows, columns) into windows (N, heads, I, J, rows, columns, d)."""
    windows = strip.unfold(2, rows.window, rows.block).unfold(3, columns.window, columns.block)
    return windows.unflatten(1, (num_heads, -1)).movedim(2, -1)


def _as_batch(windows: Tensor) -> Tensor:
    """(N, heads, I, J, rows, columns, d) as (N * heads, I * J, rows * columns, d)."""
    return windows.flatten(4, 5).flatten(2, 3).flatten(0, 1)


def _attend(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    hidden_rows: Tensor,
    *,
    hidden_columns: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    rows: _Axis,
    columns: _Axis,
    num_heads: int,
    scale: float,
) -> Tensor:
    """Attend in one strip of I x J blocks; the result is (N, rows, columns, Cv)."""
    queries = _windows(query, rows.without_halo(), columns.without_halo(), num_heads)
    values = _as_batch(_windows(value, rows, columns, num_heads))
    row_logits = column_logits = query.new_zeros(())
    if row_embedding is not None:  # a and b: row and column of the key in its window
        row_query, column_query = queries.chunk(2, dim=-1)
        row_logits = scale * torch.einsum('nhijyxd,hyad->nhijyxa', row_query, row_embedding)
        column_logits = scale * torch.einsum(
            'nhijyxd,hxbd->nhijyxb', column_query, column_embedding
        )
    row_logits = row_logits.masked_fill(hidden_rows[:, None, :, None], -torch.inf)
    column_logits = column_logits.masked_fill(hidden_columns[:, None], -torch.inf)
    bias = row_logits[..., :, None] + column_logits[..., None, :]  # (..., I, J, y, x, a, b)
    bias = bias.flatten(-2).flatten(-3, -2).flatten(-4, -3)
    bias = bias.flatten(0, 1) if row_embedding is not None else bias[None]
    if key is None:
        out = bias.softmax(dim=-1) @ values
    else:
        keys = _as_batch(_windows(key, rows, columns, num_heads))
        out = F.scaled_dot_product_attention(
            _as_batch(queries), keys, values, attn_mask=bias, scale=scale
        )
    out = out.reshape(*queries.shape[:-1], values.shape[-1])
    return out.permute(0, 2, 4, 3, 5, 1, 6).flatten(5).flatten(3, 4).flatten(1, 2)
