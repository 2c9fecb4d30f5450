"""Depthwise convolution with dilation, what large kernels are made of (arXiv:2202.09741, Figure 3).

Of the pixels that lie `DILATION` apart, a dilated convolution is a dense one. A strip is `STRIP`
such neighbours in a row; each lane of a block computes one, so that a pixel is loaded once for all
outputs of the strip that need it. Lanes go down `ROWS` rows first, which share what they read in
the first cache. All sums are float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..tensors import as_products_take, memory_format
from .bilinear import register_derivatives
from .launch import channels_last, parts, tuned

# A program of the weight gradient sums so many taps, of strips so long: what registers hold.
# Fixed, not tuned: they decide the order of a sum.
TAPS, GRADIENT_STRIP = 49, 8


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """(N, C, H, W) to (N, C, H, W), in memory as `x`."""
    (pixels,) = as_products_take(x)
    out = _convolution(channels_last(pixels), weight, bias, [weight.shape[-1], dilation])
    return out.contiguous(memory_format=memory_format(x))


@torch.library.custom_op('mmvisattn::triton_depthwise_conv2d', mutates_args=())
def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: list[int]) -> Tensor:
    """Convolve each channel with a kernel of its own.

    Args:
        x: Map (N, C, H, W).
        weight: (C, 1, k, k), of any dtype that the kernels know.
        bias: (C,), or None.
        kernel: k, and the distance of the taps; their reach in zeros is padded, the odd one after.

    Returns:
        Map (N, C, H, W), channels-last, of the dtype of `x`.
    """
    return _convolved(x, weight, bias, kernel, flip=False)


@torch.library.custom_op('mmvisattn::triton_depthwise_conv2d_input_gradient', mutates_args=())
def _input_gradient(gradient: Tensor, weight: Tensor, kernel: list[int]) -> Tensor:
    """(N, C, H, W) to (N, C, H, W): the convolution with every kernel turned around."""
    return _convolved(gradient, weight, None, kernel, flip=True)


@torch.library.custom_op('mmvisattn::triton_depthwise_conv2d_weight_gradient', mutates_args=())
def _weight_gradient(gradient: Tensor, x: Tensor, kernel: list[int]) -> Tensor:
    """(N, C, H, W) twice to (C, 1, k, k), float32: partial sums first, then their sum."""
    n, c, h, w = x.shape
    k, dilation = kernel
    channels = _channel_block(c)
    lanes = 256 // channels  # two channels for each of 128 threads
    tap_rows = max(1, min(k, TAPS // k))
    tiles = triton.cdiv(_strips(x, dilation, GRADIENT_STRIP), lanes)
    programs = triton.cdiv(c, channels), triton.cdiv(k, tap_rows)
    chunks = parts(tiles, programs[0] * programs[1])
    partial = x.new_empty(chunks, k * k, c, dtype=torch.float32)
    with torch.cuda.device_of(x):
        _weight_gradient_kernel[(chunks, *programs)](
            channels_last(x), channels_last(gradient), partial, n, h, w, c, tiles,
            K=k, DILATION=dilation, STRIP=GRADIENT_STRIP, TAP_ROWS=tap_rows,
            LANES=lanes, CHANNELS=channels,
        )  # fmt: skip
    return partial.sum(0).t().reshape(c, 1, k, k).contiguous()


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, kernel: list[int], flip: bool
) -> Tensor:
    n, c, h, w = x.shape
    k, dilation = kernel
    out = torch.empty_like(x, memory_format=torch.channels_last)
    bias = None if bias is None else bias.contiguous()
    channels = _channel_block(c)
    # 16 bytes of a pixel for each of 128 threads
    lanes = 2048 // x.element_size() // channels

    def grid(meta: dict) -> tuple[int, int]:
        return triton.cdiv(_strips(x, dilation, meta['STRIP']), lanes), triton.cdiv(c, channels)

    with torch.cuda.device_of(x):
        _convolve_kernel[grid](
            channels_last(x), weight.reshape(c, k * k).t().contiguous(), bias, out, n, h, w, c,
            K=k, DILATION=dilation, FLIP=flip, LANES=lanes, CHANNELS=channels,
        )  # fmt: skip
    return out


def _channel_block(channels: int) -> int:
    return min(64, triton.next_power_of_2(channels))


ROWS = tl.constexpr(4)


def _strips(x: Tensor, dilation: int, strip: int) -> int:
    """How many strips, those of outputs that do not exist counted, `_strip` numbers."""
    n, _, h, w = x.shape
    rows = triton.cdiv(triton.cdiv(h, dilation), ROWS.value) * ROWS.value
    return n * dilation * rows * dilation * triton.cdiv(triton.cdiv(w, dilation), strip)


@triton.jit
def _strip(index, height, width, DILATION: tl.constexpr, STRIP: tl.constexpr):
    """The picture, row and first column of strips, by their number."""
    rows = tl.cdiv(tl.cdiv(height, DILATION), ROWS)
    columns = tl.cdiv(tl.cdiv(width, DILATION), STRIP)
    row, index = index % ROWS, index // ROWS
    column, index = index % columns, index // columns
    first_column, index = index % DILATION, index // DILATION
    row, index = row + ROWS * (index % rows), index // rows
    first_row, picture = index % DILATION, index // DILATION
    return picture, first_row + DILATION * row, first_column + DILATION * STRIP * column


@triton.jit
def _pixel(x, row_start, row_exists, column, width, channel, channels):
    """(LANES, CHANNELS) of float32: a pixel for each lane, zero outside the map."""
    exists = row_exists & (column >= 0) & (column < width)
    offset = ((row_start + column) * channels)[:, None] + channel[None, :]
    return tl.load(x + offset, exists[:, None] & (channel < channels)[None, :], 0).to(tl.float32)


@triton.autotune(
    tuned(
        [
            triton.Config(dict(STRIP=strip), num_warps=warps)
            for strip, warps in [(4, 4), (8, 4), (4, 8), (8, 8)]
        ]
    ),
    key=['channels', 'K', 'DILATION', 'FLIP'],
)
@triton.jit(do_not_specialize=['batch', 'height', 'width'])
def _convolve_kernel(
    x, weight, bias, out, batch, height, width, channels,
    K: tl.constexpr, DILATION: tl.constexpr, FLIP: tl.constexpr,
    LANES: tl.constexpr, CHANNELS: tl.constexpr, STRIP: tl.constexpr,
):  # fmt: skip
    """Maps (N, H, W, C), `weight` (K * K, C); FLIP turns the kernels and the padding around."""
    index = tl.program_id(0) * LANES + tl.arange(0, LANES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    picture, row, column = _strip(index, height, width, DILATION, STRIP)
    in_picture = (picture < batch) & (row < height)
    REACH: tl.constexpr = DILATION * (K - 1)
    BEFORE: tl.constexpr = REACH - REACH // 2 if FLIP else REACH // 2
    start = tl.zeros([CHANNELS], tl.float32)
    if bias is not None:
        start += tl.load(bias + channel, channel < channels, 0).to(tl.float32)
    sums = ()
    for _ in tl.static_range(STRIP):
        sums = sums + (tl.broadcast_to(start[None, :], [LANES, CHANNELS]),)
    for i in range(K):
        from_row = row - BEFORE + DILATION * i
        row_start = (picture * height + from_row) * width
        row_exists = in_picture & (from_row >= 0) & (from_row < height)
        taps = ()
        for j in tl.static_range(K):
            tap = K * K - 1 - i * K - j if FLIP else i * K + j
            one = tl.load(weight + tap * channels + channel, channel < channels, 0)
            taps = taps + (one.to(tl.float32)[None, :],)
        for s in tl.static_range(STRIP + K - 1):
            at = column - BEFORE + DILATION * s
            pixel = _pixel(x, row_start, row_exists, at, width, channel, channels)
            before, sums = sums, ()
            for p in tl.static_range(STRIP):
                if p <= s and s < p + K:
                    sums = sums + (before[p] + pixel * taps[s - p],)
                else:
                    sums = sums + (before[p],)
    for p in tl.static_range(STRIP):
        at = column + DILATION * p
        offset = (((picture * height + row) * width + at) * channels)[:, None] + channel[None, :]
        exists = (in_picture & (at < width))[:, None] & (channel < channels)[None, :]
        tl.store(out + offset, sums[p].to(out.dtype.element_ty), exists)


@triton.jit(do_not_specialize=['batch', 'height', 'width', 'tiles'])
def _weight_gradient_kernel(
    x, gradient, partial, batch, height, width, channels, tiles,
    K: tl.constexpr, DILATION: tl.constexpr, STRIP: tl.constexpr, TAP_ROWS: tl.constexpr,
    LANES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Maps (N, H, W, C); `partial` (chunks, K * K, C), TAP_ROWS rows of taps in each program."""
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    first = tl.program_id(2) * TAP_ROWS
    BEFORE: tl.constexpr = DILATION * (K - 1) // 2
    sums = ()
    for _ in tl.static_range(TAP_ROWS * K):
        sums = sums + (tl.zeros([LANES, CHANNELS], tl.float32),)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        index = tile * LANES + tl.arange(0, LANES)
        picture, row, column = _strip(index, height, width, DILATION, STRIP)
        in_picture = (picture < batch) & (row < height)
        row_start = (picture * height + row) * width
        outputs = ()
        for p in tl.static_range(STRIP):
            at = column + DILATION * p
            output = _pixel(gradient, row_start, in_picture, at, width, channel, channels)
            outputs = outputs + (output,)
        for i in tl.static_range(TAP_ROWS):
            from_row = row - BEFORE + DILATION * (first + i)
            row_start = (picture * height + from_row) * width
            row_exists = in_picture & (from_row >= 0) & (from_row < height)
            for s in tl.static_range(STRIP + K - 1):
                at = column - BEFORE + DILATION * s
                pixel = _pixel(x, row_start, row_exists, at, width, channel, channels)
                before, sums = sums, ()
                for t in tl.static_range(TAP_ROWS * K):
                    if t // K == i and t % K <= s and s < t % K + STRIP:
                        sums = sums + (before[t] + pixel * outputs[s - t % K],)
                    else:
                        sums = sums + (before[t],)
    for t in tl.static_range(TAP_ROWS * K):
        tap = first * K + t
        offset = (tl.program_id(0) * K * K + tap) * channels + channel
        tl.store(partial + offset, tl.sum(sums[t], 0), (channel < channels) & (tap < K * K))


@_convolution.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: list[int]) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@_input_gradient.register_fake
def _(gradient: Tensor, weight: Tensor, kernel: list[int]) -> Tensor:
    return torch.empty_like(gradient, memory_format=torch.channels_last)


@_weight_gradient.register_fake
def _(gradient: Tensor, x: Tensor, kernel: list[int]) -> Tensor:
    return x.new_empty(x.shape[1], 1, kernel[0], kernel[0], dtype=torch.float32)


register_derivatives(_convolution, _input_gradient, _weight_gradient)
