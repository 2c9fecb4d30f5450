"""Attention of all tokens with a bias for each offset (CoAtNet, arXiv:2106.04803, equation 3).

A program takes a block of queries and walks all keys; their bias lies in the table at the number
of the query less the number of the key, of rows as long as the table's. Of the softmax only the
logarithm of its sum is kept. Three kernels compute the gradients, which take the logits again: of
queries, of keys and values, and of the table. In the last one, a program has one distance of
rows and one of blocks of columns: whatever rows it walks, a pair of columns has the same bias, and
it sums their logits' gradients before it sorts them by offset. Each number has one program that
sums it, in float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from ..tensors import as_products_take
from .attention import LOG2_E, LOWEST, attend, block, refuse_second_derivatives
from .launch import dot_precision

# Bytes that as many queries or keys take in one channel as a program takes at once.
BLOCK_BYTES = 128


def relative_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias_table: Tensor,
    size: tuple[int, int],
    scale: float,
    position: str,
) -> Tensor:
    """(N, heads, H * W, d) and (N, heads, H * W, dv) to (N, heads, H * W, dv)."""
    query, key, value = as_products_take(query, key, value)
    key, value = key.to(query.dtype), value.to(query.dtype)
    return _attention(query, key, value, bias_table, list(size), scale)[0]


@torch.library.custom_op('mmvisattn::triton_relative_attention', mutates_args=())
def _attention(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, size: list[int], scale: float
) -> tuple[Tensor, Tensor]:
    """Attend to all tokens.

    Args:
        query: Tokens (N, heads, H * W, d).
        key: Tokens (N, heads, H * W, d), of the same dtype.
        value: Tokens (N, heads, H * W, dv), of the same dtype.
        table: (heads, 2H - 1, 2W - 1), of any dtype that the kernels know.
        size: H and W.
        scale: Factor of the products of queries and keys.

    Returns:
        Tokens (N, heads, H * W, dv); logarithms to base 2 of the sums (N, heads, H * W).
    """
    tokens = _Tokens(query, key, value, table, size)
    out = torch.empty_like(value, memory_format=torch.contiguous_format)
    sums = _per_token(query)
    with torch.cuda.device_of(query):
        _attention_kernel[tokens.grid](
            *tokens.tensors, out, sums, *tokens.sizes, scale, **tokens.constants
        )
    return out, sums


@torch.library.custom_op('mmvisattn::triton_relative_attention_gradients', mutates_args=())
def _gradients(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table: Tensor,
    out: Tensor,
    sums: Tensor,
    size: list[int],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of the first four arguments of `_attention`.

    With P the weights and G = gradient v^T theirs, the logits have P * (G - sum(P * G)), and
    sum(P * G), `means` below, is the gradient's product with the result.
    """
    tokens = _Tokens(query, key, value, table, size)
    gradient = gradient.contiguous()
    grad_query, grad_key, grad_value = (torch.empty_like(x) for x in tokens.tensors[:3])
    means = _per_token(query)
    rows, side = 2 * size[0] - 1, 16 if size[1] <= 16 else 32
    heads, blocks = query.shape[1], triton.cdiv(size[1], side)
    distances = 2 * blocks - 1
    # Of each distance of blocks, the offsets from one block less to one block more.
    partial = query.new_empty(heads, rows, distances, 2, side, dtype=torch.float32)
    with torch.cuda.device_of(query):
        _query_gradient_kernel[tokens.grid](
            *tokens.tensors, out.contiguous(), sums, gradient, grad_query, means,
            *tokens.sizes, scale, **tokens.constants,
        )  # fmt: skip
        _key_gradient_kernel[tokens.grid](
            *tokens.tensors, sums, gradient, means, grad_key, grad_value,
            *tokens.sizes, scale, **tokens.constants,
        )  # fmt: skip
        _table_gradient_kernel[(heads * rows * distances,)](
            *tokens.tensors, sums, gradient, means, partial,
            *tokens.sizes, query.shape[0], scale, **(tokens.constants | dict(TOKENS=side)),
        )  # fmt: skip
    return grad_query, grad_key, grad_value, _joined(partial, size[1]).to(table.dtype)


def _joined(partial: Tensor, width: int) -> Tensor:
    """The offsets of all distances of blocks (heads, rows, distances, 2, side) as one table.

    What is less than one distance is what is more than the one before.
    """
    less, more = partial.unbind(3)
    table = (F.pad(less, (0, 0, 0, 1)) + F.pad(more, (0, 0, 1, 0))).flatten(2)
    middle = table.shape[2] // 2
    return table[:, :, middle - width + 1 : middle + width].contiguous()


class _Tokens:
    """What the four kernels read, and its sizes."""

    def __init__(self, query, key, value, table, size):
        n, heads, tokens, d = query.shape
        dv = value.shape[3]
        self.tensors = tuple(t.contiguous() for t in (query, key, value, table))
        self.sizes = tokens, *size, heads
        count = BLOCK_BYTES // query.element_size()
        self.grid = (n * heads * triton.cdiv(tokens, count),)
        self.constants = dict(
            D=d, DV=dv, BLOCK=block(d), BLOCK_V=block(dv), TOKENS=count,
            PRECISION=dot_precision(), num_warps=4 if max(d, dv) <= 64 else 8, num_stages=2,
        )  # fmt: skip


def _per_token(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[:3], dtype=torch.float32)


@triton.jit
def _block(tokens, heads, height, width, TOKENS: tl.constexpr):
    """A program's tokens, where their picture and head begins, and the middle of its table."""
    blocks = tl.cdiv(tokens, TOKENS)
    start = tl.program_id(0) // blocks
    token = tl.program_id(0) % blocks * TOKENS + tl.arange(0, TOKENS)
    columns = 2 * width - 1
    middle = start % heads * (2 * height - 1) * columns + (height - 1) * columns + width - 1
    return token, start * tokens, middle


@triton.jit
def _tokens(x, token, exists, D: tl.constexpr, BLOCK: tl.constexpr):
    """(tokens, BLOCK): their channels, zero where there are none."""
    channel = tl.arange(0, BLOCK)
    offset = (token * D)[:, None] + channel[None, :]
    return tl.load(x + offset, exists[:, None] & (channel < D)[None, :], 0)


@triton.jit
def _store(x, tile, token, exists, D: tl.constexpr):
    """The reverse of `_tokens`."""
    channel = tl.arange(0, tile.shape[1])
    offset = (token * D)[:, None] + channel[None, :]
    tl.store(x + offset, tile.to(x.dtype.element_ty), exists[:, None] & (channel < D)[None, :])


@triton.jit
def _biased(products, table, i, j, tokens, width, scale):
    """The logits of queries `i` for keys `j`, to base 2, by their products, in any shape."""
    columns = 2 * width - 1
    offset = (i // width * columns + i % width) - (j // width * columns + j % width)
    exists = (i < tokens) & (j < tokens)
    bias = tl.load(table + offset, exists, 0).to(tl.float32)
    return tl.where(exists, (products * scale + bias) * LOG2_E, float('-inf'))


@triton.jit(do_not_specialize=['tokens', 'height', 'width'])
def _attention_kernel(
    query, key, value, table, out, sums, tokens, height, width, heads, scale,
    D: tl.constexpr, DV: tl.constexpr, BLOCK: tl.constexpr, BLOCK_V: tl.constexpr,
    TOKENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Tokens (N * heads, H * W, channels), `sums` (N * heads, H * W)."""
    i, start, middle = _block(tokens, heads, height, width, TOKENS)
    q = _tokens(query, start + i, i < tokens, D, BLOCK)
    largest = tl.full([TOKENS], LOWEST, tl.float32)
    total = tl.zeros([TOKENS], tl.float32)
    attended = tl.zeros([TOKENS, BLOCK_V], tl.float32)
    for first in range(0, tokens, TOKENS):
        j = first + tl.arange(0, TOKENS)
        k = _tokens(key, start + j, j < tokens, D, BLOCK)
        v = _tokens(value, start + j, j < tokens, DV, BLOCK_V)
        logits = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        logits = _biased(logits, table + middle, i[:, None], j[None, :], tokens, width, scale)
        largest, total, attended = attend(logits, v, largest, total, attended, PRECISION)
    total = tl.where(i < tokens, total, 1)  # the others see no key
    _store(out, attended / total[:, None], start + i, i < tokens, DV)
    tl.store(sums + start + i, largest + tl.log2(total), i < tokens)


@triton.jit(do_not_specialize=['tokens', 'height', 'width'])
def _query_gradient_kernel(
    query, key, value, table, out, sums, gradient, grad_query, means,
    tokens, height, width, heads, scale,
    D: tl.constexpr, DV: tl.constexpr, BLOCK: tl.constexpr, BLOCK_V: tl.constexpr,
    TOKENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Tokens (N * heads, H * W, channels), `sums` and `means` (N * heads, H * W)."""
    i, start, middle = _block(tokens, heads, height, width, TOKENS)
    q = _tokens(query, start + i, i < tokens, D, BLOCK)
    g = _tokens(gradient, start + i, i < tokens, DV, BLOCK_V)
    attended = _tokens(out, start + i, i < tokens, DV, BLOCK_V)
    mean = tl.sum(g.to(tl.float32) * attended.to(tl.float32), 1)
    tl.store(means + start + i, mean, i < tokens)
    total = tl.load(sums + start + i, i < tokens, 0)
    grad_q = tl.zeros([TOKENS, BLOCK], tl.float32)
    for first in range(0, tokens, TOKENS):
        j = first + tl.arange(0, TOKENS)
        k = _tokens(key, start + j, j < tokens, D, BLOCK)
        v = _tokens(value, start + j, j < tokens, DV, BLOCK_V)
        logits = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        logits = _biased(logits, table + middle, i[:, None], j[None, :], tokens, width, scale)
        grad_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
        grad_logits = tl.exp2(logits - total[:, None]) * (grad_weights - mean[:, None])
        grad_q = tl.dot(grad_logits.to(k.dtype), k, grad_q, input_precision=PRECISION)
    _store(grad_query, grad_q * scale, start + i, i < tokens, D)


@triton.jit(do_not_specialize=['tokens', 'height', 'width'])
def _key_gradient_kernel(
    query, key, value, table, sums, gradient, means, grad_key, grad_value,
    tokens, height, width, heads, scale,
    D: tl.constexpr, DV: tl.constexpr, BLOCK: tl.constexpr, BLOCK_V: tl.constexpr,
    TOKENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """As `_query_gradient_kernel`; logits are (keys, queries) here."""
    j, start, middle = _block(tokens, heads, height, width, TOKENS)
    k = _tokens(key, start + j, j < tokens, D, BLOCK)
    v = _tokens(value, start + j, j < tokens, DV, BLOCK_V)
    grad_k = tl.zeros([TOKENS, BLOCK], tl.float32)
    grad_v = tl.zeros([TOKENS, BLOCK_V], tl.float32)
    for first in range(0, tokens, TOKENS):
        i = first + tl.arange(0, TOKENS)
        q = _tokens(query, start + i, i < tokens, D, BLOCK)
        g = _tokens(gradient, start + i, i < tokens, DV, BLOCK_V)
        total = tl.load(sums + start + i, i < tokens, 0)
        mean = tl.load(means + start + i, i < tokens, 0)
        logits = tl.dot(k, tl.trans(q), input_precision=PRECISION)
        logits = _biased(logits, table + middle, i[None, :], j[:, None], tokens, width, scale)
        weights = tl.exp2(logits - total[None, :])
        grad_v = tl.dot(weights.to(g.dtype), g, grad_v, input_precision=PRECISION)
        grad_weights = tl.dot(v, tl.trans(g), input_precision=PRECISION)
        grad_logits = weights * (grad_weights - mean[None, :])
        grad_k = tl.dot(grad_logits.to(q.dtype), q, grad_k, input_precision=PRECISION)
    _store(grad_key, grad_k * scale, start + j, j < tokens, D)
    _store(grad_value, grad_v, start + j, j < tokens, DV)


@triton.jit(do_not_specialize=['tokens', 'height', 'width', 'batch'])
def _table_gradient_kernel(
    query, key, value, table, sums, gradient, means, partial,
    tokens, height, width, heads, batch, scale,
    D: tl.constexpr, DV: tl.constexpr, BLOCK: tl.constexpr, BLOCK_V: tl.constexpr,
    TOKENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """`partial` (heads, 2 * H - 1, 2 * blocks - 1, 2 * TOKENS), for blocks of a row's tokens."""
    blocks = tl.cdiv(width, TOKENS)
    distance = tl.program_id(0) % (2 * blocks - 1) - blocks + 1
    row = tl.program_id(0) // (2 * blocks - 1)  # of the tables of all heads
    head, down = row // (2 * height - 1), row % (2 * height - 1) - height + 1
    lane = tl.arange(0, TOKENS)
    # The same for all that follows: how far query and key lie from each other.
    offset = distance * TOKENS + lane[:, None] - lane[None, :] + width - 1
    exists = (offset >= 0) & (offset < 2 * width - 1)
    bias = tl.load(table + row * (2 * width - 1) + offset, exists, 0).to(tl.float32)
    sum_logits = tl.zeros([TOKENS, TOKENS], tl.float32)
    rows, pairs = height - tl.abs(down), blocks - tl.abs(distance)
    for step in range(batch * rows * pairs):
        start = (step // pairs // rows * heads + head) * tokens
        query_y = step // pairs % rows + tl.maximum(down, 0)
        query_x = (step % pairs + tl.maximum(distance, 0)) * TOKENS + lane
        key_x = query_x - distance * TOKENS
        i = start + query_y * width + query_x
        j = start + (query_y - down) * width + key_x
        q = _tokens(query, i, query_x < width, D, BLOCK)
        g = _tokens(gradient, i, query_x < width, DV, BLOCK_V)
        k = _tokens(key, j, key_x < width, D, BLOCK)
        v = _tokens(value, j, key_x < width, DV, BLOCK_V)
        total = tl.load(sums + i, query_x < width, 0)
        mean = tl.load(means + i, query_x < width, 0)
        logits = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        weights = tl.exp2((logits * scale + bias) * LOG2_E - total[:, None])
        grad_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
        seen = (query_x < width)[:, None] & (key_x < width)[None, :]
        sum_logits += tl.where(seen, weights * (grad_weights - mean[:, None]), 0)
    # Each query has one key at each offset, from one block less to one more.
    step = tl.arange(0, 2 * TOKENS)[None, :]
    there = lane[:, None] + TOKENS - step
    of_step = tl.gather(sum_logits, tl.minimum(tl.maximum(there, 0), TOKENS - 1), 1)
    of_step = tl.where((there >= 0) & (there < TOKENS), of_step, 0)
    at = tl.program_id(0) * 2 * TOKENS + tl.arange(0, 2 * TOKENS)
    tl.store(partial + at, tl.sum(of_step, 0))


@_attention.register_fake
def _(query, key, value, table, size, scale):
    return torch.empty_like(value, memory_format=torch.contiguous_format), _per_token(query)


@_gradients.register_fake
def _(gradient, query, key, value, table, *args):
    return tuple(
        torch.empty_like(x, memory_format=torch.contiguous_format)
        for x in (query, key, value, table)
    )


def _keep(ctx: object, inputs: tuple, output: tuple) -> None:
    *tensors, ctx.size, ctx.scale = inputs
    ctx.set_materialize_grads(False)  # nothing differentiates the sums
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx: object, gradient: Tensor, _: Tensor) -> tuple:
    return *_gradients(gradient, *ctx.saved_tensors, ctx.size, ctx.scale), None, None


_attention.register_autograd(_backward, setup_context=_keep)
refuse_second_derivatives(_gradients, 'relative_attention', 'chunks')
