"""A product over channels that look at different pixels: CycleFC (arXiv:2107.10224, Figure 1).

Channel c looks at the pixel `offsets[c % period]` away. Its map is read in whole runs of channels,
once for each offset of the period, and each channel takes its own: the first cache serves all but
the first reading, and no shifted map is ever written. All sums are float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..cycle_fc.offsets import period_offsets
from ..tensors import as_products_take, memory_format
from .bilinear import register_derivatives
from .launch import channels_last, dot_precision, parts, tuned

# How many numbers of a sum `tl.dot` takes at once. Fixed, not tuned: they decide its order.
DEPTH = 32


def cycle_fc(
    x: Tensor, weight: Tensor, bias: Tensor | None, step_size: tuple[int, int], order: str
) -> Tensor:
    """(N, C, H, W) to (N, O, H, W)."""
    offsets = [d for pixel in period_offsets(step_size, order) for d in pixel]
    (pixels,) = as_products_take(x)
    out = _product(channels_last(pixels), weight.flatten(1), bias, offsets)
    return out.contiguous(memory_format=memory_format(x))


@torch.library.custom_op('mmvisattn::triton_shifted_product', mutates_args=())
def _product(x: Tensor, weight: Tensor, bias: Tensor | None, offsets: list[int]) -> Tensor:
    """Shift the channels, then mix them: out[p] = sum over c of x[p + offset(c), c] weight[:, c].

    Args:
        x: Map (N, C, H, W); zero outside.
        weight: (O, C), of any dtype that the kernels know.
        bias: (O,), or None.
        offsets: dy, dx, dy, dx ... of the first channels, which all later ones repeat.

    Returns:
        Map (N, O, H, W), channels-last, of the dtype of `x`.
    """
    n, c, h, w = x.shape
    outputs = weight.shape[0]
    bias = None if bias is None else bias.contiguous()
    out = _map_like(x, outputs)

    def grid(meta: dict) -> tuple[int, int]:
        return triton.cdiv(n * h * w, meta['PIXELS']), triton.cdiv(outputs, meta['OUTPUTS'])

    with torch.cuda.device_of(x):
        _product_kernel[grid](
            channels_last(x), weight.contiguous(), bias, out, n * h * w, h, w, c, outputs,
            OFFSETS=tuple(offsets), DEPTH=DEPTH, PRECISION=dot_precision(),
        )  # fmt: skip
    return out


@torch.library.custom_op('mmvisattn::triton_shifted_product_input_gradient', mutates_args=())
def _input_gradient(gradient: Tensor, weight: Tensor, offsets: list[int]) -> Tensor:
    """(N, O, H, W) to (N, C, H, W): the channels of one offset at a time, shifted back."""
    n, outputs, h, w = gradient.shape
    c, period = weight.shape[1], len(offsets) // 2
    out = _map_like(gradient, c)

    def grid(meta: dict) -> tuple[int, int]:
        blocks = triton.cdiv(triton.cdiv(c, period), meta['CHANNELS'])
        return triton.cdiv(n * h * w, meta['PIXELS']), period * blocks

    with torch.cuda.device_of(gradient):
        _input_gradient_kernel[grid](
            channels_last(gradient), weight.t().contiguous(), out, n * h * w, h, w, c, outputs,
            OFFSETS=tuple(offsets), DEPTH=DEPTH, PRECISION=dot_precision(),
        )  # fmt: skip
    return out


@torch.library.custom_op('mmvisattn::triton_shifted_product_weight_gradient', mutates_args=())
def _weight_gradient(gradient: Tensor, x: Tensor, offsets: list[int]) -> Tensor:
    """(N, O, H, W) and (N, C, H, W) to (O, C), float32: partial sums first, then their sum."""
    n, c, h, w = x.shape
    outputs = gradient.shape[1]
    grid = triton.cdiv(outputs, 64), triton.cdiv(c, 64)
    chunks = parts(triton.cdiv(n * h * w, DEPTH), grid[0] * grid[1])
    partial = x.new_empty(chunks, outputs, c, dtype=torch.float32)
    with torch.cuda.device_of(x):
        _weight_gradient_kernel[(*grid, chunks)](
            channels_last(x), channels_last(gradient), partial, n * h * w, h, w, c, outputs,
            OFFSETS=tuple(offsets), DEPTH=DEPTH, CHANNELS=64, OUTPUTS=64,
            PRECISION=dot_precision(),
        )  # fmt: skip
    return partial.sum(0)


def _map_like(x: Tensor, channels: int) -> Tensor:
    n, _, h, w = x.shape
    return x.new_empty(n, h, w, channels).permute(0, 3, 1, 2)


def _blocks(across: str) -> list[triton.Config]:
    """Pixels and channels that a program computes, and its warps."""
    return tuned(
        [
            triton.Config({'PIXELS': pixels, across: block}, num_warps=warps)
            for pixels, block, warps in [(64, 64, 4), (128, 64, 4), (128, 128, 8), (64, 32, 4)]
        ]
    )


@triton.jit
def _there(x, pixel, pixels, dy, dx, height, width, channel, channels):
    """(pixels, channels): what lies (dy, dx) away, zero outside the map."""
    row, column = pixel // width % height + dy, pixel % width + dx
    exists = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (pixel < pixels)
    offset = ((pixel + dy * width + dx) * channels)[:, None] + channel[None, :]
    return tl.load(x + offset, exists[:, None] & (channel < channels)[None, :], 0)


@triton.jit
def _shifted(x, pixel, pixels, height, width, channel, channels, OFFSETS: tl.constexpr):
    """(pixels, channels): what each channel looks at."""
    PERIOD: tl.constexpr = len(OFFSETS) // 2
    tile = tl.zeros([pixel.shape[0], channel.shape[0]], x.dtype.element_ty)
    for r in tl.static_range(PERIOD):
        there = _there(
            x, pixel, pixels, OFFSETS[2 * r], OFFSETS[2 * r + 1], height, width, channel, channels
        )
        tile = tl.where((channel % PERIOD == r)[None, :], there, tile)
    return tile


@triton.autotune(_blocks('OUTPUTS'), key=['channels', 'outputs', 'OFFSETS'])
@triton.jit(do_not_specialize=['pixels', 'height', 'width'])
def _product_kernel(
    x, weight, bias, out, pixels, height, width, channels, outputs,
    OFFSETS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """Maps (N, H, W, C), `weight` (O, C)."""
    # Pixels along the first axis of the grid: CUDA counts to 65,535 along the others.
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    sums = tl.zeros([PIXELS, OUTPUTS], tl.float32)
    for first in range(0, channels, DEPTH):
        channel = first + tl.arange(0, DEPTH)
        tile = _shifted(x, pixel, pixels, height, width, channel, channels, OFFSETS)
        exists = (channel < channels)[:, None] & (output < outputs)[None, :]
        columns = tl.load(weight + channel[:, None] + (output * channels)[None, :], exists, 0)
        sums = tl.dot(tile, columns.to(tile.dtype), sums, input_precision=PRECISION)
    if bias is not None:
        sums += tl.load(bias + output, output < outputs, 0).to(tl.float32)[None, :]
    exists = (pixel < pixels)[:, None] & (output < outputs)[None, :]
    offset = (pixel * outputs)[:, None] + output[None, :]
    tl.store(out + offset, sums.to(out.dtype.element_ty), exists)


@triton.autotune(_blocks('CHANNELS'), key=['channels', 'outputs', 'OFFSETS'])
@triton.jit(do_not_specialize=['pixels', 'height', 'width'])
def _input_gradient_kernel(
    gradient, weight, out, pixels, height, width, channels, outputs,
    OFFSETS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Maps (N, H, W, C), `weight` (C, O). A program's channels have one offset, of residue `r`."""
    PERIOD: tl.constexpr = len(OFFSETS) // 2
    r, block = tl.program_id(1) % PERIOD, tl.program_id(1) // PERIOD
    dy, dx = 0, 0
    for i in tl.static_range(PERIOD):
        dy = tl.where(r == i, OFFSETS[2 * i], dy)
        dx = tl.where(r == i, OFFSETS[2 * i + 1], dx)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = r + PERIOD * (block * CHANNELS + tl.arange(0, CHANNELS))
    sums = tl.zeros([PIXELS, CHANNELS], tl.float32)
    for first in range(0, outputs, DEPTH):
        output = first + tl.arange(0, DEPTH)
        tile = _there(gradient, pixel, pixels, -dy, -dx, height, width, output, outputs)
        exists = (output < outputs)[:, None] & (channel < channels)[None, :]
        rows = tl.load(weight + output[:, None] + (channel * outputs)[None, :], exists, 0)
        sums = tl.dot(tile, rows.to(tile.dtype), sums, input_precision=PRECISION)
    exists = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    offset = (pixel * channels)[:, None] + channel[None, :]
    tl.store(out + offset, sums.to(out.dtype.element_ty), exists)


@triton.jit(do_not_specialize=['pixels', 'height', 'width'])
def _weight_gradient_kernel(
    x, gradient, partial, pixels, height, width, channels, outputs,
    OFFSETS: tl.constexpr, DEPTH: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Maps (N, H, W, C); `partial` (chunks, O, C)."""
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    sums = tl.zeros([OUTPUTS, CHANNELS], tl.float32)
    step = tl.num_programs(2) * DEPTH
    for first in range(tl.program_id(2) * DEPTH, pixels, step):
        pixel = first + tl.arange(0, DEPTH)
        tile = _shifted(x, pixel, pixels, height, width, channel, channels, OFFSETS)
        rows = _there(gradient, pixel, pixels, 0, 0, height, width, output, outputs)
        sums = tl.dot(tl.trans(rows), tile, sums, input_precision=PRECISION)
    exists = (output < outputs)[:, None] & (channel < channels)[None, :]
    offset = ((tl.program_id(2) * outputs + output) * channels)[:, None] + channel[None, :]
    tl.store(partial + offset, sums, exists)


@_product.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, offsets: list[int]) -> Tensor:
    return _map_like(x, weight.shape[0])


@_input_gradient.register_fake
def _(gradient: Tensor, weight: Tensor, offsets: list[int]) -> Tensor:
    return _map_like(gradient, weight.shape[1])


@_weight_gradient.register_fake
def _(gradient: Tensor, x: Tensor, offsets: list[int]) -> Tensor:
    return x.new_empty(gradient.shape[1], x.shape[1], dtype=torch.float32)


register_derivatives(_product, _input_gradient, _weight_gradient)
