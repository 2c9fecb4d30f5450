"""Local attention in C++: the logits of all squares, a softmax, and sums by its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from .. import native
from ..tensors import (
    as_products_take,
    exporting,
    memory_format,
    piecewise,
    records_steps,
    transformed,
    without_autocast,
)

# More logits than these are computed in pieces, some pictures or some heads of one each, and again
# for the backward pass; fewer are kept for it. A graph has fewer pieces, of `IN_A_GRAPH` as many.
PIECE_ELEMENTS = 2**23
IN_A_GRAPH = 8


def why_not(query: Tensor, *args: object) -> str | None:
    """Why this does not compute a call."""
    if not query.is_cpu:
        return f'it is for CPUs, and the query is on {query.device.type}'
    if not query.is_floating_point():
        return f'it computes floating-point numbers, not {query.dtype}'
    if exporting():
        return 'an exported graph cannot hold it'
    if transformed():
        return 'torch.func and forward derivatives do not go through it'
    return native.why_not()


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
    """(N, C, H, W) and (N, Cv, H, W) to (N, Cv, H, W); half precision is computed in float32."""
    given = as_products_take(query, key, value, row_embedding, column_embedding)
    dtype, layout, (n, _, height, width) = given[0].dtype, memory_format(query), query.shape
    precise = torch.promote_types(dtype, torch.float32)
    radius = min(kernel_size // 2, max(height, width, 1) - 1)  # nothing lies farther away
    seen = slice(kernel_size // 2 - radius, kernel_size // 2 + radius + 1)
    *maps, rows, columns = (None if x is None else x.to(precise) for x in given)
    tensors = [*maps, *(None if x is None else x[:, seen] for x in (rows, columns))]
    limit = PIECE_ELEMENTS * (IN_A_GRAPH if records_steps() else 1)
    at_once = max(1, limit // max(1, (2 * radius + 1) ** 2 * height * width))  # heads
    pieces, heads = [tensors], num_heads
    if n * num_heads > at_once:
        heads = max(h for h in range(1, min(num_heads, at_once) + 1) if num_heads % h == 0)
        pictures = max(1, at_once // num_heads)
        pieces = list(_pieces(tensors, pictures, num_heads // heads))
    with without_autocast('cpu'):
        attend = partial(_attend, kernel_size=2 * radius + 1, num_heads=heads, scale=scale)
        out = piecewise(attend, pieces, dim=0)
    return out.reshape(value.shape).to(dtype).contiguous(memory_format=layout)


def _pieces(
    tensors: Sequence[Tensor | None], pictures: int, parts: int
) -> Iterator[list[Tensor | None]]:
    """So many pictures each, or a part of the heads of one, in order."""

    def part(x: Tensor | None, dim: int, i: int) -> Tensor | None:
        return None if x is None else x.chunk(parts, dim)[i]

    for n in range(0, tensors[0].shape[0], pictures):
        maps = [None if x is None else x[n : n + pictures] for x in tensors[:3]]
        for i in range(parts):
            yield [*(part(x, 1, i) for x in maps), *(part(x, 0, i) for x in tensors[3:])]


def _attend(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    *,
    kernel_size: int,
    num_heads: int,
    scale: float,
) -> Tensor:
    """Maps (N, C, H, W) and embeddings (num_heads, kernel_size, d / 2) to (N, Cv, H, W)."""
    query = query if scale == 1 else scale * query
    size = height, width = query.shape[2:]
    # What is added for the row and for the column of a neighbour: (..., k, 1, H, W), (..., k, H, W)
    row_logits = _hidden(height, kernel_size, query)[:, None, :, None]
    column_logits = _hidden(width, kernel_size, query)[:, None, :]
    if row_embedding is not None:
        halves = query.unflatten(1, (num_heads, 2, -1)).flatten(4).unbind(2)  # (N, heads, d/2, HW)
        of_row, of_column = (
            (embedding @ half).unflatten(3, size)  # (N, heads, k, H, W)
            for embedding, half in zip((row_embedding, column_embedding), halves, strict=True)
        )
        row_logits = row_logits + of_row[:, :, :, None]
        column_logits = column_logits + of_column[:, :, None]
    if key is None:
        logits = row_logits + column_logits
    else:
        logits = native.neighbour_products(query, key, num_heads, kernel_size)
        logits.add_(row_logits).add_(column_logits)
    weights = logits.flatten(2, 3).softmax(2).view(logits.shape)
    return native.neighbour_sums(weights, value, False)


def _hidden(length: int, kernel_size: int, like: Tensor) -> Tensor:
    """Minus infinity where the neighbour of a row, or column, lies beyond the map: (k, length)."""
    step = torch.arange(kernel_size, device=like.device) - kernel_size // 2
    position = torch.arange(length, device=like.device) + step[:, None]
    outside = (position < 0) | (position >= length)
    return torch.zeros_like(position, dtype=like.dtype).masked_fill(outside, -torch.inf)
