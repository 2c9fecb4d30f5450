"""Attention from each pixel to the square around it (SASA, arXiv:1906.05909, section 2.2).

A program takes the queries of one `TILE` x `TILE` tile of the map and one head, and walks the rows
of keys that they see, in place: what tiles share is served by the caches. Of the softmax only the
logarithm of its sum is kept. Two kernels compute the gradients, which take the logits again: one
of queries and embeddings goes as the forward one, one of keys and values takes a tile of keys and
walks the queries that see it. Each number has one program that sums it, in float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..tensors import as_products_take, memory_format
from .attention import LOG2_E, LOWEST, attend, block, refuse_second_derivatives
from .launch import PROGRAMS, channels_last, dot_precision

TILE = 8
# Queries or keys of a row that a program takes at once, at most: what registers hold.
WIDEST = 32


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
    tensors = as_products_take(query, key, value, row_embedding, column_embedding)
    dtype = tensors[0].dtype
    *maps, row, column = (None if t is None else t.to(dtype) for t in tensors)
    # Nothing lies farther away than the end of the map.
    radius = max(0, min(kernel_size // 2, max(query.shape[2:]) - 1))
    if row is not None:
        middle = kernel_size // 2
        row, column = (e[:, middle - radius : middle + radius + 1] for e in (row, column))
    out, _ = _attention(*maps, row, column, num_heads, radius, scale)
    return out.contiguous(memory_format=layout)


@torch.library.custom_op('mmvisattn::triton_local_attention', mutates_args=())
def _attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    num_heads: int,
    radius: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Attend in a square, all of one dtype.

    Args:
        query: Map (N, C, H, W).
        key: Map (N, C, H, W), or None.
        value: Map (N, Cv, H, W).
        row_embedding: (num_heads, 2 * radius + 1, C / num_heads / 2), or None.
        column_embedding: As `row_embedding`.
        num_heads: Number of heads.
        radius: Half of the square's side, without the middle.
        scale: Factor of the logits.

    Returns:
        Map (N, Cv, H, W), channels-last; logarithms to base 2 of the sums (N, H, W, num_heads).
    """
    maps = _Maps(query, key, value, row_embedding, column_embedding, num_heads, radius)
    (out,) = _maps_like(value)
    sums = _per_head(query, num_heads)
    with torch.cuda.device_of(query):
        _attention_kernel[(maps.tiles * num_heads,)](
            *maps.tensors, out, sums, *maps.sizes, scale, **maps.constants
        )
    return out, sums


@torch.library.custom_op('mmvisattn::triton_local_attention_gradients', mutates_args=())
def _gradients(
    gradient: Tensor,
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    out: Tensor,
    sums: Tensor,
    num_heads: int,
    radius: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of the first five arguments of `_attention`; empty where there was None.

    With P the weights and G = gradient v^T theirs, the logits have P * (G - sum(P * G)), and
    sum(P * G), `means` below, is the gradient's product with the result.
    """
    maps = _Maps(query, key, value, row_embedding, column_embedding, num_heads, radius)
    gradient, out = channels_last(gradient), channels_last(out)
    grad_query, grad_key, grad_value = _maps_like(query, key, value)
    means = _per_head(query, num_heads)
    chunks = max(1, min(maps.tiles, 8 * PROGRAMS // num_heads))
    table = 0 if row_embedding is None else row_embedding[0].numel()
    partial = query.new_empty(2, chunks, num_heads, table, dtype=torch.float32)
    with torch.cuda.device_of(query):
        _query_gradient_kernel[(chunks * num_heads,)](
            *maps.tensors, out, sums, gradient, grad_query, means, partial, maps.tiles, chunks,
            *maps.sizes, scale, **maps.constants,
        )  # fmt: skip
        _key_gradient_kernel[(maps.tiles * num_heads,)](
            *maps.tensors, sums, gradient, means, grad_key, grad_value,
            *maps.sizes, scale, **maps.constants,
        )  # fmt: skip
    tables = (
        query.new_empty(0) if e is None else part.sum(0).view(e.shape).to(e.dtype)
        for e, part in zip((row_embedding, column_embedding), partial, strict=True)
    )
    return grad_query, grad_key, grad_value, *tables


class _Maps:
    """What the three kernels read, and its sizes."""

    def __init__(self, query, key, value, row_embedding, column_embedding, num_heads, radius):
        n, channels, height, width = query.shape
        maps, embeddings = (query, key, value), (row_embedding, column_embedding)
        self.tensors = (
            *(None if x is None else channels_last(x) for x in maps),
            *(None if e is None else e.contiguous() for e in embeddings),
        )
        self.sizes = height, width, num_heads
        self.tiles = n * triton.cdiv(height, TILE) * triton.cdiv(width, TILE)
        d, dv = channels // num_heads, value.shape[1] // num_heads
        self.constants = dict(
            RADIUS=radius, D=d, DV=dv, BLOCK=block(d), BLOCK_V=block(dv),
            OFFSETS=block(2 * radius + 1), COLUMNS=min(WIDEST, block(TILE + 2 * radius)),
            SIDE=TILE, PRECISION=dot_precision(), num_warps=4 if max(d, dv) <= 64 else 8,
            num_stages=2 if query.dtype == torch.float32 else 3,
        )  # fmt: skip


def _maps_like(*maps: Tensor | None) -> list[Tensor]:
    """Memory for maps like these, channels-last; none for None."""
    return [
        maps[0].new_empty(0)
        if x is None
        else torch.empty_like(x, memory_format=torch.channels_last)
        for x in maps
    ]


def _per_head(x: Tensor, num_heads: int) -> Tensor:
    n, _, h, w = x.shape
    return x.new_empty(n, h, w, num_heads, dtype=torch.float32)


@triton.jit
def _tile(index, height, width, RADIUS: tl.constexpr, SIDE: tl.constexpr):
    """A tile and what it sees, which is also what sees it.

    Returns:
        Its picture; rows, columns and numbers of its pixels, and which of them exist; where the
        rows that it sees begin and end, and where the columns do.
    """
    down, across = tl.cdiv(height, SIDE), tl.cdiv(width, SIDE)
    left, index = index % across * SIDE, index // across
    top, picture = index % down * SIDE, index // down
    lane = tl.arange(0, SIDE * SIDE)
    y, x = top + lane // SIDE, left + lane % SIDE
    exists = (y < height) & (x < width)
    pixel = (picture * height + y) * width + x
    from_y, to_y = tl.maximum(top - RADIUS, 0), tl.minimum(top + SIDE + RADIUS, height)
    from_x, to_x = tl.maximum(left - RADIUS, 0), tl.minimum(left + SIDE + RADIUS, width)
    return picture, y, x, pixel, exists, from_y, to_y, from_x, to_x


@triton.jit
def _pixels(x, pixel, exists, head, heads, D: tl.constexpr, BLOCK: tl.constexpr):
    """(pixels, BLOCK): the channels of one head, zero where there are none; None of no map."""
    channel = tl.arange(0, BLOCK)
    offset = ((pixel * heads + head) * D)[:, None] + channel[None, :]
    exists = exists[:, None] & (channel < D)[None, :]
    return tl.load(x + offset, exists, 0) if x is not None else None


@triton.jit
def _store(x, tile, pixel, exists, head, heads, D: tl.constexpr):
    """The reverse of `_pixels`."""
    channel = tl.arange(0, tile.shape[1])
    offset = ((pixel * heads + head) * D)[:, None] + channel[None, :]
    tl.store(x + offset, tile.to(x.dtype.element_ty), exists[:, None] & (channel < D)[None, :])


@triton.jit
def _half(
    head, FIRST: tl.constexpr, RADIUS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    OFFSETS: tl.constexpr,
):  # fmt: skip
    """(OFFSETS, BLOCK): addresses of an embedding of half the channels, and which exist."""
    step, channel = tl.arange(0, OFFSETS)[:, None], tl.arange(0, BLOCK)[None, :] - FIRST
    exists = (step <= 2 * RADIUS) & (channel >= 0) & (channel < D // 2)
    return (head * (2 * RADIUS + 1) + step) * (D // 2) + channel, exists


@triton.jit
def _embedding(
    table, head, FIRST: tl.constexpr, RADIUS: tl.constexpr, D: tl.constexpr,
    BLOCK: tl.constexpr, OFFSETS: tl.constexpr,
):  # fmt: skip
    """(OFFSETS, BLOCK): an embedding, zero in the other half of channels; None of no table."""
    address, exists = _half(head, FIRST, RADIUS, D, BLOCK, OFFSETS)
    return tl.load(table + address, exists, 0) if table is not None else None


@triton.jit
def _steps(to, start, length, RADIUS: tl.constexpr):
    """How far `to` lies from `start`, 0 to 2 * RADIUS, and where it does and is in the map."""
    step = to - start + RADIUS
    seen = (step >= 0) & (step <= 2 * RADIUS) & (to >= 0) & (to < length)
    return tl.minimum(tl.maximum(step, 0), 2 * RADIUS), seen


@triton.jit
def _where_seen(logits, seen_x, seen_y, scale):
    """Logits (pixels of a tile, pixels of a row) to base 2, minus infinity where none is seen."""
    return tl.where(seen_x & seen_y[:, None], logits * (scale * LOG2_E), float('-inf'))


@triton.jit
def _by_offset(q, table, PRECISION: tl.constexpr):
    """(queries, OFFSETS): products with an embedding; None without."""
    return tl.dot(q, tl.trans(table), input_precision=PRECISION) if table is not None else None


@triton.jit
def _logits(q, k, rows, column, down, seen_x, seen_y, scale, PRECISION: tl.constexpr):
    """The logits of a tile's queries for the keys of a row, `down` from each in `rows`.

    `k`, or `rows` and `column`, the products with embeddings, may be None.
    """
    logits = tl.zeros(seen_x.shape, tl.float32)
    if k is not None:
        logits = tl.dot(q, tl.trans(k), logits, input_precision=PRECISION)
    if rows is not None:
        step = tl.arange(0, rows.shape[1])[None, :]
        row = tl.sum(tl.where(step == down[:, None], rows, 0), 1)[:, None]
        logits += row + column
    return _where_seen(logits, seen_x, seen_y, scale)


@triton.jit(do_not_specialize=['height', 'width'])
def _attention_kernel(
    query, key, value, row_embedding, column_embedding, out, sums, height, width, heads, scale,
    RADIUS: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_V: tl.constexpr, OFFSETS: tl.constexpr, COLUMNS: tl.constexpr, SIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Maps (N, H, W, C), `sums` (N, H, W, heads)."""
    head = tl.program_id(0) % heads
    picture, y, x, pixel, exists, from_y, to_y, from_x, to_x = _tile(
        tl.program_id(0) // heads, height, width, RADIUS, SIDE
    )
    q = _pixels(query, pixel, exists, head, heads, D, BLOCK)
    row_table = _embedding(row_embedding, head, 0, RADIUS, D, BLOCK, OFFSETS)
    rows = _by_offset(q, row_table, PRECISION)
    column_table = _embedding(column_embedding, head, D // 2, RADIUS, D, BLOCK, OFFSETS)
    columns = _by_offset(q, column_table, PRECISION)
    largest = tl.full([SIDE * SIDE], LOWEST, tl.float32)
    total = tl.zeros([SIDE * SIDE], tl.float32)
    attended = tl.zeros([SIDE * SIDE, BLOCK_V], tl.float32)
    for first in range(from_x, to_x, COLUMNS):
        key_x = first + tl.arange(0, COLUMNS)
        right, seen_x = _steps(key_x[None, :], x[:, None], width, RADIUS)
        column = tl.gather(columns, right, 1) if columns is not None else None
        for key_y in range(from_y, to_y):
            there = (picture * height + key_y) * width + key_x
            down, seen_y = _steps(key_y, y, height, RADIUS)
            k = _pixels(key, there, key_x < width, head, heads, D, BLOCK)
            logits = _logits(q, k, rows, column, down, seen_x, seen_y, scale, PRECISION)
            v = _pixels(value, there, key_x < width, head, heads, DV, BLOCK_V)
            largest, total, attended = attend(logits, v, largest, total, attended, PRECISION)
    total = tl.where(exists, total, 1)  # none of the others needs to see a key
    _store(out, attended / total[:, None], pixel, exists, head, heads, DV)
    tl.store(sums + pixel * heads + head, largest + tl.log2(total), exists)


@triton.jit(do_not_specialize=['tiles', 'chunks', 'height', 'width'])
def _query_gradient_kernel(
    query, key, value, row_embedding, column_embedding, out, sums, gradient,
    grad_query, means, partial, tiles, chunks, height, width, heads, scale,
    RADIUS: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_V: tl.constexpr, OFFSETS: tl.constexpr, COLUMNS: tl.constexpr, SIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Maps (N, H, W, C), `means` (N, H, W, heads), `partial` (2, chunks, heads, steps * D / 2)."""
    head, chunk = tl.program_id(0) % heads, tl.program_id(0) // heads
    step = tl.arange(0, OFFSETS)[None, :]
    row_table = _embedding(row_embedding, head, 0, RADIUS, D, BLOCK, OFFSETS)
    column_table = _embedding(column_embedding, head, D // 2, RADIUS, D, BLOCK, OFFSETS)
    if row_embedding is not None:
        grad_row_table = tl.zeros([OFFSETS, BLOCK], tl.float32)
        grad_column_table = tl.zeros([OFFSETS, BLOCK], tl.float32)
    for tile in range(chunk, tiles, chunks):
        picture, y, x, pixel, exists, from_y, to_y, from_x, to_x = _tile(
            tile, height, width, RADIUS, SIDE
        )
        q = _pixels(query, pixel, exists, head, heads, D, BLOCK)
        g = _pixels(gradient, pixel, exists, head, heads, DV, BLOCK_V)
        attended = _pixels(out, pixel, exists, head, heads, DV, BLOCK_V)
        mean = tl.sum(g.to(tl.float32) * attended.to(tl.float32), 1)
        tl.store(means + pixel * heads + head, mean, exists)
        total = tl.load(sums + pixel * heads + head, exists, 0)
        grad_q = tl.zeros([SIDE * SIDE, BLOCK], tl.float32)
        rows = _by_offset(q, row_table, PRECISION)
        columns = _by_offset(q, column_table, PRECISION)
        if row_embedding is not None:
            grad_rows = tl.zeros([SIDE * SIDE, OFFSETS], tl.float32)
            grad_columns = tl.zeros([SIDE * SIDE, OFFSETS], tl.float32)
        for first in range(from_x, to_x, COLUMNS):
            key_x = first + tl.arange(0, COLUMNS)
            right, seen_x = _steps(key_x[None, :], x[:, None], width, RADIUS)
            column = tl.gather(columns, right, 1) if columns is not None else None
            by_column = tl.zeros([SIDE * SIDE, COLUMNS], tl.float32)
            for key_y in range(from_y, to_y):
                there = (picture * height + key_y) * width + key_x
                down, seen_y = _steps(key_y, y, height, RADIUS)
                k = _pixels(key, there, key_x < width, head, heads, D, BLOCK)
                logits = _logits(q, k, rows, column, down, seen_x, seen_y, scale, PRECISION)
                v = _pixels(value, there, key_x < width, head, heads, DV, BLOCK_V)
                grad_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
                weights = tl.exp2(logits - total[:, None])
                grad_logits = weights * (grad_weights - mean[:, None])
                if key is not None:
                    grad_q = tl.dot(grad_logits.to(k.dtype), k, grad_q, input_precision=PRECISION)
                if row_embedding is not None:
                    by_column += grad_logits
                    by_row = tl.sum(grad_logits, 1)[:, None]
                    grad_rows += tl.where(step == down[:, None], by_row, 0)
            if row_embedding is not None:
                # Each offset of each query is one column of keys.
                at = x[:, None] + step - RADIUS - first
                of_step = tl.gather(by_column, tl.minimum(tl.maximum(at, 0), COLUMNS - 1), 1)
                grad_columns += tl.where((at >= 0) & (at < COLUMNS), of_step, 0)
        if row_embedding is not None:
            by_row, by_column = grad_rows.to(q.dtype), grad_columns.to(q.dtype)
            grad_q = tl.dot(by_row, row_table, grad_q, input_precision=PRECISION)
            grad_q = tl.dot(by_column, column_table, grad_q, input_precision=PRECISION)
            grad_row_table = tl.dot(tl.trans(by_row), q, grad_row_table, input_precision=PRECISION)
            grad_column_table = tl.dot(
                tl.trans(by_column), q, grad_column_table, input_precision=PRECISION
            )
        _store(grad_query, grad_q * scale, pixel, exists, head, heads, D)
    if row_embedding is not None:
        address, exists = _half(chunk * heads + head, 0, RADIUS, D, BLOCK, OFFSETS)
        tl.store(partial + address, grad_row_table * scale, exists)
        address, exists = _half((chunks + chunk) * heads + head, D // 2, RADIUS, D, BLOCK, OFFSETS)
        tl.store(partial + address, grad_column_table * scale, exists)


@triton.jit(do_not_specialize=['height', 'width'])
def _key_gradient_kernel(
    query, key, value, row_embedding, column_embedding, sums, gradient, means,
    grad_key, grad_value, height, width, heads, scale,
    RADIUS: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_V: tl.constexpr, OFFSETS: tl.constexpr, COLUMNS: tl.constexpr, SIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Maps (N, H, W, C), `sums` and `means` (N, H, W, heads). Logits are (keys, queries) here."""
    head = tl.program_id(0) % heads
    picture, y, x, pixel, exists, from_y, to_y, from_x, to_x = _tile(
        tl.program_id(0) // heads, height, width, RADIUS, SIDE
    )
    k = _pixels(key, pixel, exists, head, heads, D, BLOCK)
    row_table = _embedding(row_embedding, head, 0, RADIUS, D, BLOCK, OFFSETS)
    column_table = _embedding(column_embedding, head, D // 2, RADIUS, D, BLOCK, OFFSETS)
    v = _pixels(value, pixel, exists, head, heads, DV, BLOCK_V)
    grad_k = tl.zeros([SIDE * SIDE, BLOCK], tl.float32)
    grad_v = tl.zeros([SIDE * SIDE, BLOCK_V], tl.float32)
    for first in range(from_x, to_x, COLUMNS):
        query_x = first + tl.arange(0, COLUMNS)
        right, seen_x = _steps(x[:, None], query_x[None, :], width, RADIUS)
        seen_x &= (query_x < width)[None, :]
        for query_y in range(from_y, to_y):
            there = (picture * height + query_y) * width + query_x
            down, seen_y = _steps(y, query_y, height, RADIUS)
            q = _pixels(query, there, query_x < width, head, heads, D, BLOCK)
            g = _pixels(gradient, there, query_x < width, head, heads, DV, BLOCK_V)
            total = tl.load(sums + there * heads + head, query_x < width, 0)
            mean = tl.load(means + there * heads + head, query_x < width, 0)
            logits = tl.zeros([SIDE * SIDE, COLUMNS], tl.float32)
            if key is not None:
                logits = tl.dot(k, tl.trans(q), logits, input_precision=PRECISION)
            if row_embedding is not None:
                rows = tl.dot(row_table, tl.trans(q), input_precision=PRECISION)
                columns = tl.dot(column_table, tl.trans(q), input_precision=PRECISION)
                row = tl.gather(rows, tl.broadcast_to(down[:, None], right.shape), 0)
                logits += row + tl.gather(columns, right, 0)
            logits = _where_seen(logits, seen_x, seen_y, scale)
            weights = tl.exp2(logits - total[None, :])
            grad_v = tl.dot(weights.to(g.dtype), g, grad_v, input_precision=PRECISION)
            if key is not None:
                grad_weights = tl.dot(v, tl.trans(g), input_precision=PRECISION)
                grad_logits = weights * (grad_weights - mean[None, :])
                grad_k = tl.dot(grad_logits.to(q.dtype), q, grad_k, input_precision=PRECISION)
    _store(grad_value, grad_v, pixel, exists, head, heads, DV)
    if key is not None:
        _store(grad_key, grad_k * scale, pixel, exists, head, heads, D)


@_attention.register_fake
def _(query, key, value, row_embedding, column_embedding, num_heads, radius, scale):
    return *_maps_like(value), _per_head(query, num_heads)


@_gradients.register_fake
def _(gradient, query, key, value, row_embedding, column_embedding, *args):
    tables = (
        query.new_empty(0 if e is None else e.shape) for e in (row_embedding, column_embedding)
    )
    return *_maps_like(query, key, value), *tables


def _keep(ctx: object, inputs: tuple, output: tuple) -> None:
    *tensors, ctx.num_heads, ctx.radius, ctx.scale = inputs
    ctx.set_materialize_grads(False)  # nothing differentiates the sums
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx: object, gradient: Tensor, _: Tensor) -> tuple:
    saved = ctx.saved_tensors
    gradients = _gradients(gradient, *saved, ctx.num_heads, ctx.radius, ctx.scale)
    kept = (g if x is not None else None for g, x in zip(gradients, saved, strict=False))
    return *kept, None, None, None


_attention.register_autograd(_backward, setup_context=_keep)
refuse_second_derivatives(_gradients, 'local_attention', 'strips')
