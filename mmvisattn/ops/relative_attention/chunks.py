"""Relative attention by PyTorch's own attention, some rows of queries at a time.

With its keys in reverse order, row yi, column xi of the queries has for bias the H x W window of
the table that begins at (yi, xi): a view of the table, without an index. The order of keys is
nothing to a softmax, nor to the sum after it. The gradient of the table is the adjoint of this
view: it adds up what overlaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tensors import as_products_take, needs_gradient, piecewise, records_steps, without_autocast

# Logits of one chunk, 2 MiB in float32: about what the caches of a core hold, and little for a
# layer to keep. A chunk has at least one row of queries of one head.
CHUNK_ELEMENTS = 2**19
# How many times as many where a step costs more than a miss of the cache: on a GPU, which wants to
# be kept busy, and in a graph.
LARGE = 2**4


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
    if bias_table is None:
        return F.scaled_dot_product_attention(query, key, value, scale=scale)
    query, key, value = as_products_take(query, key, value)
    table = bias_table.to(query.dtype)
    if position == 'post_softmax':
        attended = F.scaled_dot_product_attention(query, key, value, scale=scale)
        return attended + _biased_sums(value.flip(2), table, size)
    tensors = query, key.flip(2), value.flip(2), table
    attend = _Attention.apply if needs_gradient(*tensors) else _attend
    return attend(*tensors, size, scale)


@dataclass(frozen=True)
class _Chunk:
    """Some rows of queries, of some heads of some pictures, and their bias.

    Args:
        pictures: Which pictures of the batch.
        heads: Which heads.
        tokens: Which queries.
        rows: Which rows of the table they need.
        size: (H, W).
    """

    pictures: slice
    heads: slice
    tokens: slice
    rows: slice
    size: tuple[int, int]

    @classmethod
    def cut(cls, query: Tensor, size: tuple[int, int]) -> list[_Chunk]:
        """Cut (N, heads, H * W, d) into chunks: first by pictures, then by heads, then by rows."""
        n, heads, tokens, _ = query.shape
        height, width = size
        cuts = []
        for count, logits in (
            (height, width * tokens),
            (heads, height * width * tokens),
            (n, heads * height * width * tokens),
        ):
            step = min(max(1, _chunk_elements(query) // max(1, logits)), max(1, count))
            cuts.append([slice(i, min(i + step, count)) for i in range(0, count, step)])
        return [
            cls(
                pictures,
                head,
                slice(rows.start * width, rows.stop * width),
                slice(rows.start, rows.stop + height - 1),
                size,
            )
            for rows, head, pictures in product(*cuts)
        ]

    @property
    def queries(self) -> tuple[slice, slice, slice]:
        """Where the chunk lies in the queries."""
        return self.pictures, self.heads, self.tokens

    @property
    def keys(self) -> tuple[slice, slice]:
        """Where what it attends to lies in the keys."""
        return self.pictures, self.heads

    def bias(self, table: Tensor) -> Tensor:
        """The bias (heads, queries, keys)."""
        return _bias(table[self.heads, self.rows], self.size)

    def add_to(self, table_gradient: Tensor, gradient: Tensor) -> None:
        """Add to the table's gradient that of (pictures * heads, queries, keys).

        Queries and keys have the same part in y + a, x + b, where the windows meet the table; a
        fold takes its blocks from the last axis.
        """
        height, width = self.size
        rows = self.rows.stop - self.rows.start - height + 1
        heads, columns, _ = table_gradient[self.heads, self.rows].shape
        if len(gradient) > heads:
            gradient = gradient.unflatten(0, (-1, heads)).sum(0)
        blocks = gradient.reshape(1, -1, height * width)
        total = F.fold(blocks, (columns, 2 * width - 1), (rows, width))
        table_gradient[self.heads, self.rows] += total[0]


def _attend(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, size: tuple[int, int], scale: float
) -> Tensor:
    """softmax(scale * q k^T + bias) v, keys and values in reverse order."""
    out = query.new_empty(*query.shape[:3], value.shape[3])
    for chunk in _Chunk.cut(query, size):
        out[chunk.queries] = F.scaled_dot_product_attention(
            query[chunk.queries],
            key[chunk.keys],
            value[chunk.keys],
            attn_mask=chunk.bias(table)[None],
            scale=scale,
        )
    return out


class _Attention(torch.autograd.Function):
    """`_attend`, with a backward pass that computes the weights again, a chunk at a time.

    PyTorch's own attention keeps all weights where its mask wants a gradient. The backward pass
    consists of what PyTorch can differentiate again.
    """

    @staticmethod
    def forward(ctx, query, key, value, table, size, scale):
        out = _attend(query, key, value, table, size, scale)
        ctx.save_for_backward(query, key, value, table, out)
        ctx.size, ctx.scale = size, scale
        return out

    @staticmethod
    def backward(ctx, gradient):
        precise = torch.promote_types(gradient.dtype, torch.float32)
        with without_autocast(gradient.device.type):
            tensors = (x.to(precise) for x in (gradient, *ctx.saved_tensors))
            gradients = _gradients(*tensors, ctx.size, ctx.scale)
        return *(g.to(gradient.dtype) for g in gradients), None, None


def _gradients(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table: Tensor,
    out: Tensor,
    size: tuple[int, int],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value and table, by that of `_attend`'s result.

    With P the weights and G = gradient v^T theirs, the logits have P * (G - sum(P * G)), and
    sum(P * G) is the gradient's product with the result.
    """
    grad_query, grad_key, grad_value, grad_table = map(torch.zeros_like, (query, key, value, table))
    means = (gradient * out).sum(3, keepdim=True)
    for chunk in _Chunk.cut(query, size):
        q, g, mean = (x[chunk.queries].flatten(0, 1) for x in (query, gradient, means))
        k, v = (x[chunk.keys].flatten(0, 1) for x in (key, value))
        bias = chunk.bias(table)
        bias = bias.expand(len(q) // len(bias), -1, -1, -1).flatten(0, 1)
        weights = torch.baddbmm(bias, q, k.mT, alpha=scale).softmax(2)
        logits = weights * torch.baddbmm(mean, g, v.mT, beta=-1)
        for total, part in (
            (grad_query[chunk.queries], scale * torch.bmm(logits, k)),
            (grad_key[chunk.keys], scale * torch.bmm(logits.mT, q)),
            (grad_value[chunk.keys], torch.bmm(weights.mT, g)),
        ):
            total += part.view_as(total)
        chunk.add_to(grad_table, logits)
    return grad_query, grad_key, grad_value, grad_table


def _biased_sums(value: Tensor, table: Tensor, size: tuple[int, int]) -> Tensor:
    """bias v, with the values in reverse order."""
    (height, width), heads = size, table.shape[0]
    rows = max(1, _chunk_elements(value) // max(1, heads * width * value.shape[2]))
    pieces = [(table[:, y : y + rows + height - 1], value) for y in range(0, height, rows)]

    def add_up(table: Tensor, value: Tensor) -> Tensor:
        return torch.einsum('hqk,nhkv->nhqv', _bias(table, size), value)

    return piecewise(add_up, pieces, dim=2)


def _bias(table: Tensor, size: tuple[int, int]) -> Tensor:
    """The bias (heads, queries, keys) of those rows of queries that rows of the table belong to."""
    height, width = size
    return table.unfold(1, height, 1).unfold(2, width, 1).flatten(3).flatten(1, 2)


def _chunk_elements(tensor: Tensor) -> int:
    return CHUNK_ELEMENTS * (1 if tensor.is_cpu and not records_steps() else LARGE)
