"""Local attention as dense attention of small blocks, a strip of blocks at a time.

A block of queries shares one window of keys: the block and a halo around it. Each query sees its
own square of the window; a bias of minus infinity hides the rest. This bias, like the logits of
positions, is a sum of one part for rows and one for columns: two small tables, added at last.

Maps are cut into bands: the blocks of one column, one above the other. Bands overlap and are
copied, but a window is a part of its band: windows that overlap vertically are never copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tensors import (
    as_products_take,
    memory_format,
    needs_gradient,
    records_steps,
    without_autocast,
)

# Side of a block. Larger ones compute more logits that the bias hides, smaller ones copy keys more
# often and take more steps.
BLOCK = 4
GPU_BLOCK = 8
# Logits of one strip: more of them for one strip copy windows, fewer take more steps. A strip has
# at least one row of blocks of one picture.
STRIP_ELEMENTS = 2**16
# How many times as many where a step costs more than copies: on a GPU, which wants to be kept
# busy, and in a graph.
LARGE = 2**8


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
    layout = memory_format(query)
    query, key, value, *embeddings = as_products_take(
        query, key, value, row_embedding, column_embedding
    )
    height, width = query.shape[2:]
    block = BLOCK if query.is_cpu else GPU_BLOCK
    rows, columns = (Axis.cut(length, kernel_size, block) for length in (height, width))
    queries = _bands(query, rows.without_halo(), columns.without_halo(), num_heads)
    keys = None if key is None else _bands(key, rows, columns, num_heads)
    values = _bands(value, rows, columns, num_heads)
    biases = position_biases(queries, *embeddings, rows, columns, scale)
    tensors = queries, keys, values, *biases
    attend = _Attention.apply if needs_gradient(*tensors) else _attend
    out = attend(*tensors, rows, scale)  # (N, heads, J, I * y, x, dv)
    out = out.permute(0, 1, 5, 3, 2, 4).flatten(4).flatten(1, 2)[:, :, :height, :width]
    return out.contiguous(memory_format=layout)


@dataclass(frozen=True)
class Axis:
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
    def cut(cls, length: int, kernel_size: int, block: int) -> Axis:
        """Cut `length` into blocks of one size, as few as a side of at most `block` allows."""
        blocks = _ceil_div(length, block)
        radius = min(kernel_size // 2, length - 1)  # nothing lies farther away
        return cls(length, radius, _ceil_div(length, blocks), blocks)

    @property
    def window(self) -> int:
        """Keys of a block."""
        return self.block + 2 * self.radius

    @property
    def padding(self) -> tuple[int, int]:
        """What a map lacks before and after to hold every window."""
        return self.radius, self.radius + self.block * self.blocks - self.length

    def without_halo(self) -> Axis:
        """The same blocks with themselves as windows."""
        return Axis(self.length, 0, self.block, self.blocks)

    def places(self, device: torch.device) -> Tensor:
        """Where the keys of each window lie in a padded map: (blocks, window)."""
        start = self.block * torch.arange(self.blocks, device=device)
        return start[:, None] + torch.arange(self.window, device=device)

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

    def spread(self, embedding: Tensor) -> Tensor:
        """The embedding (heads, kernel_size, d / 2) as (heads, block, window, d / 2)."""
        middle = embedding.shape[1] // 2
        seen = self.steps(embedding.device).clamp(0, 2 * self.radius)
        return embedding[:, seen + middle - self.radius]


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _bands(x: Tensor, rows: Axis, columns: Axis, num_heads: int) -> Tensor:
    """Cut a map (N, C, H, W) into J bands (N, heads, J, rows, columns, d) with their halos."""
    cut = _Bands.apply if needs_gradient(x) else _cut_into_bands
    return cut(x, rows, columns, num_heads)


def _cut_into_bands(x: Tensor, rows: Axis, columns: Axis, num_heads: int) -> Tensor:
    padded = F.pad(x, (*columns.padding, *rows.padding)).unflatten(1, (num_heads, -1))
    bands = padded.unfold(4, columns.window, columns.block)  # (N, heads, d, rows, J, columns)
    return bands.permute(0, 1, 4, 3, 5, 2).contiguous()


class _Bands(torch.autograd.Function):
    """`_cut_into_bands`; the gradient of PyTorch's own unfolded view is slow."""

    @staticmethod
    def forward(ctx, x, rows, columns, num_heads):
        ctx.rows, ctx.columns, ctx.layout = rows, columns, memory_format(x)
        return _cut_into_bands(x, rows, columns, num_heads)

    @staticmethod
    def backward(ctx, gradient):
        rows, columns = ctx.rows, ctx.columns
        n, heads, bands, height, window, d = gradient.shape
        block, parts = columns.block, _ceil_div(window, columns.block)
        total = gradient.new_zeros(n, heads, bands + parts - 1, height, block, d)
        for p in range(parts):  # what lies p blocks to the right of where its window begins
            part = gradient[..., p * block : (p + 1) * block, :]
            total[:, :, p : p + bands, :, : part.shape[4]] += part
        padded = total.permute(0, 1, 5, 3, 2, 4).flatten(4).flatten(1, 2)
        inner = padded[:, :, rows.radius :, columns.radius :][:, :, : rows.length, : columns.length]
        return inner.contiguous(memory_format=ctx.layout), None, None, None


def position_biases(
    queries: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    rows: Axis,
    columns: Axis,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """What each query adds to the logits of the rows and of the columns of its window.

    Both are bands like those of the queries, with one number for each row or column.
    """
    hidden_rows = rows.hidden(queries.device).flatten(0, 1)[:, None]  # (I * y, 1, a)
    hidden_columns = columns.hidden(queries.device)[:, None]  # (J, 1, x, b)
    if row_embedding is None:
        zero = queries.new_zeros((1,) * 6)
        row_logits = zero.expand(*queries.shape[:5], rows.window)
        column_logits = zero.expand(*queries.shape[:5], columns.window)
    else:
        row_query, column_query = queries.unflatten(3, (-1, rows.block)).chunk(2, dim=-1)
        row_logits = torch.einsum(
            'nhjiyxd,hyad->nhjiyxa', row_query, scale * rows.spread(row_embedding)
        )
        column_logits = torch.einsum(
            'nhjiyxd,hxbd->nhjiyxb', column_query, scale * columns.spread(column_embedding)
        )
        row_logits, column_logits = row_logits.flatten(3, 4), column_logits.flatten(3, 4)
    return (
        row_logits.masked_fill(hidden_rows, -torch.inf),
        column_logits.masked_fill(hidden_columns, -torch.inf),
    )


@dataclass(frozen=True)
class _Strip:
    """Some rows of blocks of some pictures.

    Args:
        pictures: Which pictures of the batch.
        blocks: Which rows of blocks.
        rows: The cut of the map's rows.
    """

    pictures: slice
    blocks: range
    rows: Axis

    @classmethod
    def cut(cls, queries: Tensor, columns: int, rows: Axis) -> Iterator[_Strip]:
        """Cut bands of queries, whose windows have so many columns, into strips."""
        n, heads, bands, _, x, _ = queries.shape
        left = STRIP_ELEMENTS * (1 if queries.is_cpu and not records_steps() else LARGE)
        logits = max(1, heads * bands * rows.block * x * rows.window * columns)
        blocks = min(max(1, left // logits), rows.blocks)
        pictures = max(1, left // (logits * rows.blocks))
        for picture in range(0, n, pictures):
            for block in range(0, rows.blocks, blocks):
                some = range(block, min(block + blocks, rows.blocks))
                yield cls(slice(picture, picture + pictures), some, rows)

    def queries(self, bands: Tensor) -> Tensor:
        """The part of bands (N, heads, J, I * y, x, d) that belongs to the queries."""
        size = self.rows.block
        return bands[self.pictures, :, :, self.blocks.start * size : self.blocks.stop * size]

    def by_block(self, bands: Tensor) -> Tensor:
        """The same as a batch of blocks (blocks, y * x, d)."""
        part = self.queries(bands).unflatten(3, (-1, self.rows.block))
        return part.flatten(4, 5).flatten(0, 3)

    def windows(self, bands: Tensor) -> list[Tensor]:
        """The windows in bands of keys, (N, heads, J, a, b, d) for each row of blocks."""
        size, window = self.rows.block, self.rows.window
        bands = bands[self.pictures]
        return [bands[:, :, :, i * size : i * size + window] for i in self.blocks]

    def by_window(self, bands: Tensor) -> Tensor:
        """The same as a batch of windows (blocks, a * b, d)."""
        windows = self.windows(bands)
        joined = windows[0][:, :, :, None] if len(windows) == 1 else torch.stack(windows, 3)
        return joined.flatten(4, 5).flatten(0, 3)

    def bias(self, row_bias: Tensor, column_bias: Tensor) -> Tensor:
        """What is added to the logits, (blocks, y * x, a * b)."""
        of_row, of_column = self.by_block(row_bias), self.by_block(column_bias)
        return (of_row[..., :, None] + of_column[..., None, :]).flatten(2)


def _attend(
    queries: Tensor,
    keys: Tensor | None,
    values: Tensor,
    row_bias: Tensor,
    column_bias: Tensor,
    rows: Axis,
    scale: float,
) -> Tensor:
    """Attend in bands; the result is (N, heads, J, I * y, x, dv)."""
    out = values.new_empty(*queries.shape[:5], values.shape[5])
    for strip in _Strip.cut(queries, values.shape[4], rows):
        bias, value = strip.bias(row_bias, column_bias), strip.by_window(values)
        if keys is None:
            part = bias.softmax(2) @ value
        else:
            query, key = strip.by_block(queries), strip.by_window(keys)
            # As pictures of one head each: PyTorch has no fast attention without that axis.
            query, key, value, bias = (x[:, None] for x in (query, key, value, bias))
            part = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
        target = strip.queries(out)
        target.copy_(part.view(target.shape))
    return out


class _Attention(torch.autograd.Function):
    """`_attend`, with a backward pass that computes the weights again, a strip at a time.

    PyTorch's own attention keeps all weights where its mask wants a gradient. The backward pass
    consists of what PyTorch can differentiate again.
    """

    @staticmethod
    def forward(ctx, queries, keys, values, row_bias, column_bias, rows, scale):
        out = _attend(queries, keys, values, row_bias, column_bias, rows, scale)
        ctx.save_for_backward(queries, keys, values, row_bias, column_bias, out)
        ctx.rows, ctx.scale = rows, scale
        return out

    @staticmethod
    def backward(ctx, gradient):
        precise = torch.promote_types(gradient.dtype, torch.float32)
        with without_autocast(gradient.device.type):
            tensors = (None if x is None else x.to(precise) for x in (gradient, *ctx.saved_tensors))
            gradients = _gradients(*tensors, ctx.rows, ctx.scale)
        return *(None if g is None else g.to(gradient.dtype) for g in gradients), None, None


def _gradients(
    gradient: Tensor,
    queries: Tensor,
    keys: Tensor | None,
    values: Tensor,
    row_bias: Tensor,
    column_bias: Tensor,
    out: Tensor,
    rows: Axis,
    scale: float,
) -> tuple[Tensor | None, ...]:
    """The gradients of the first five arguments of `_attend`, by that of its result.

    With P the weights and G = gradient v^T theirs, the logits have P * (G - sum(P * G)), and
    sum(P * G) is the gradient's product with the result.
    """
    contents = queries, keys, values, row_bias, column_bias
    totals = [None if x is None else torch.zeros_like(x) for x in contents]
    grad_queries, grad_keys, grad_values, grad_rows, grad_columns = totals
    means = (gradient * out).sum(5, keepdim=True)
    for strip in _Strip.cut(queries, values.shape[4], rows):
        g, mean = strip.by_block(gradient), strip.by_block(means)
        bias = strip.bias(row_bias, column_bias)
        if keys is not None:
            q, k = strip.by_block(queries), strip.by_window(keys)
            bias = torch.baddbmm(bias, q, k.mT, alpha=scale)
        weights = bias.softmax(2)
        logits = weights * torch.baddbmm(mean, g, strip.by_window(values).mT, beta=-1)
        by_axis = logits.unflatten(2, (rows.window, -1))
        of_queries = [(grad_rows, by_axis.sum(3)), (grad_columns, by_axis.sum(2))]
        of_windows = [(grad_values, torch.bmm(weights.mT, g))]
        if keys is not None:
            of_queries.append((grad_queries, scale * torch.bmm(logits, k)))
            of_windows.append((grad_keys, scale * torch.bmm(logits.mT, q)))
        for total, part in of_queries:
            target = strip.queries(total)
            target.copy_(part.view(target.shape))
        for total, part in of_windows:
            windows = strip.windows(total)
            shape = (*windows[0].shape[:3], len(windows), *windows[0].shape[3:])
            for window, addend in zip(windows, part.view(shape).unbind(3), strict=True):
                window += addend
    if keys is None:
        totals[0] = None
    return tuple(totals)
