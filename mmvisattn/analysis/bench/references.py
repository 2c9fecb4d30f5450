"""The operators as they are usually computed, from the papers' formulas: what we compare with.

They take the arguments of a backend (`mmvisattn.ops`), and any device.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from ...ops.backends import computed_by
from ...ops.cycle_fc import cycle_offsets


def cycle_fc(
    x: Tensor, weight: Tensor, bias: Tensor | None, step_size: tuple[int, int], order: str
) -> Tensor:
    """CycleFC as the deformable convolution that CycleMLP's authors released.

    Each channel is a group of offsets. Half precision is computed in float32, which is what
    autocast does to a deformable convolution.
    """
    n, channels, height, width = x.shape
    dtype = torch.promote_types(x.dtype, torch.float32)
    offsets = cycle_offsets(channels, step_size, order).to(x.device, dtype).reshape(1, -1, 1, 1)
    bias = None if bias is None else bias.to(dtype)
    out = deform_conv2d(x.to(dtype), offsets.expand(n, -1, height, width), weight.to(dtype), bias)
    return out.to(x.dtype)


def cycle_mixing(
    x: Tensor,
    height_weight: Tensor,
    height_bias: Tensor,
    width_weight: Tensor,
    width_bias: Tensor,
    channel_weight: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    fc1_weight: Tensor | None,
    fc1_bias: Tensor | None,
    fc2_weight: Tensor | None,
    fc2_bias: Tensor | None,
    step_sizes: tuple[tuple[int, int], tuple[int, int]],
    order: str,
) -> Tensor:
    """CycleMLP's block as released: two deformable convolutions, and linear layers beside them."""
    h = cycle_fc(x, height_weight, height_bias, step_sizes[0], order).permute(0, 2, 3, 1)
    w = cycle_fc(x, width_weight, width_bias, step_sizes[1], order).permute(0, 2, 3, 1)
    c = F.linear(x.permute(0, 2, 3, 1), channel_weight)  # (N, H, W, C)
    out = h + w + c
    if fc1_weight is not None:
        hidden = F.gelu(F.linear(out.mean((1, 2)), fc1_weight, fc1_bias))
        weights = F.linear(hidden, fc2_weight, fc2_bias).unflatten(1, (-1, 3)).softmax(2)
        a_h, a_w, a_c = weights[:, None, None].unbind(4)  # (N, 1, 1, C) each
        out = h * a_h + w * a_w + c * a_c
    return F.linear(out, proj_weight, proj_bias).permute(0, 3, 1, 2)


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """PyTorch's convolution with as many groups as channels; kernels are odd."""
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=x.shape[1])


def large_kernel_attention(
    x: Tensor,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor | None,
    dilated_weight: Tensor,
    dilated_bias: Tensor | None,
    pointwise_weight: Tensor,
    pointwise_bias: Tensor | None,
    dilation: int,
) -> Tensor:
    """Three convolutions and a product (VAN, section 3.1)."""
    gate = depthwise_conv2d(x, depthwise_weight, depthwise_bias, 1)
    gate = depthwise_conv2d(gate, dilated_weight, dilated_bias, dilation)
    return x * F.conv2d(gate, pointwise_weight, pointwise_bias)


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
    """Keys and values copied for the k * k neighbours of each pixel, then batched products.

    (SASA, equations 2 and 3.) Of the usual forms this is the fastest: windows of a padded
    channels-last map take half the time of `F.unfold` and its permutation.
    """
    height, width = query.shape[2:]
    radius = kernel_size // 2

    def heads(x: Tensor) -> Tensor:  # (N, heads, H, W, d)
        return x.unflatten(1, (num_heads, -1)).permute(0, 1, 3, 4, 2)

    def neighbours(x: Tensor) -> Tensor:  # (N, heads, H, W, k * k, d)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, radius, radius, radius, radius))
        windows = padded.unfold(1, kernel_size, 1).unfold(2, kernel_size, 1)
        windows = windows.unflatten(3, (num_heads, -1))  # (N, H, W, heads, d, k, k)
        return windows.permute(0, 3, 1, 2, 5, 6, 4).flatten(4, 5)

    q, logits = heads(query), 0
    if key is not None:
        logits = (neighbours(key) @ q[..., None]).squeeze(-1)  # (N, heads, H, W, k * k)
    if row_embedding is not None:
        rows, columns = (
            half @ embedding[:, None].transpose(2, 3)  # (N, heads, H, W, k)
            for half, embedding in zip(
                q.chunk(2, dim=4), (row_embedding, column_embedding), strict=True
            )
        )
        logits = logits + (rows[..., :, None] + columns[..., None, :]).flatten(4)
    inside = F.pad(q.new_ones(height, width), [radius] * 4)
    inside = inside.unfold(0, kernel_size, 1).unfold(1, kernel_size, 1).flatten(2)
    weights = (scale * logits).masked_fill(inside == 0, -torch.inf).softmax(4)
    out = (weights[..., None, :] @ neighbours(value)).squeeze(-2)  # (N, heads, H, W, dv)
    return out.permute(0, 1, 4, 2, 3).flatten(1, 2)


def relative_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias_table: Tensor | None,
    size: tuple[int, int],
    scale: float,
    position: str,
) -> Tensor:
    """All logits at once, and a bias for each that a stored index takes from the table.

    (CoAtNet, equation 3, with the index of Swin.)
    """
    tokens, bias = query.shape[2], 0
    if bias_table is not None:
        index = _relative_index(*size, query.device)
        bias = bias_table.flatten(1).index_select(1, index).to(query.dtype)
        bias = bias.unflatten(1, (tokens, tokens))
    logits = scale * query @ key.transpose(2, 3)
    if position == 'pre_softmax':
        return (logits + bias).softmax(3) @ value
    return (logits.softmax(3) + bias) @ value


@lru_cache(maxsize=4)
def _relative_index(height: int, width: int, device: torch.device) -> Tensor:
    """Where the table, flat, has the bias of each query and key, (tokens * tokens,)."""
    token = torch.arange(height * width, device=device)
    y, x = token // width, token % width
    rows, columns = y[:, None] - y + height - 1, x[:, None] - x + width - 1
    return (rows * (2 * width - 1) + columns).flatten()


PUBLISHED = {
    function.__name__: function
    for function in (
        cycle_fc,
        cycle_mixing,
        depthwise_conv2d,
        large_kernel_attention,
        local_attention,
        relative_attention,
    )
}


def as_published() -> AbstractContextManager[None]:
    """Inside, our operators are computed by the functions of this file."""
    return computed_by(PUBLISHED)
