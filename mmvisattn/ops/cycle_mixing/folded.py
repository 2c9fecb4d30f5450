"""CycleMLP's spatial mixing as one product.

The mean of a branch is the product of its weight and the mean of what it looks at, so the weights
of the branches are known before any product. What follows is linear: with h, w and c the pixels
that the branches look at, their sum weighted by a_h, a_w and a_c, projected, is

    proj (a_h W_h h + a_w W_w w + a_c W_c c) = proj [a_h W_h | a_w W_w | a_c W_c] [h; w; c]

One channel of each cycle looks straight ahead. Its column of W_h or W_w belongs to the same number
as that of W_c and is added to it: of the 3 C columns 7/3 C are left with cycles of 3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cycle_fc.gather import Group, gather, gather_and_sum, groups_of, joined_columns
from ..cycle_fc.offsets import period_offsets
from ..pointwise import pixel_linear, pixel_linear_each
from ..tensors import as_products_take, memory_format, without_autocast
from .reweight import branch_weights


def why_not(x: Tensor, *args: object) -> str | None:
    """Composing the weights of C x K numbers pays from K pixels on."""
    *_, fc1_weight, _, _, _, step_sizes, order = args
    n, channels, height, width = x.shape
    columns = channels
    for step_size in step_sizes:
        columns += sum(g.count(channels) for g in _split(step_size, order)[1])
    pixels = height * width * (n if fc1_weight is None else 1)  # that share the weights
    if pixels < columns:
        return f'{pixels} pixels share the weights of {columns} channels: composing them costs more'
    return None


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
    """(N, C, H, W) to (N, C, H, W). The composed weights are rounded once, at the end."""
    h, w = x.shape[2:]
    (picture,) = as_products_take(x)
    picture = picture.contiguous(memory_format=torch.channels_last)
    cycles = [_split(step_size, order) for step_size in step_sizes]
    groups = [Group(0, 1, (0, 0)), *(group for _, away in cycles for group in away)]
    precise = torch.promote_types(picture.dtype, torch.float32)
    if fc1_weight is None:
        pixels = gather(picture, groups)
    else:
        pixels, total = gather_and_sum(picture, groups, precise)
    pixels = pixels.permute(0, 2, 3, 1)  # (N, H, W, K)

    with without_autocast(x.device.type):
        ahead, away = zip(
            *(
                _columns(weight.flatten(1).to(precise), *cycle)
                for weight, cycle in zip((height_weight, width_weight), cycles, strict=True)
            ),
            strict=True,
        )
        w_c, proj, b_h, b_w, proj_bias = (
            t.to(precise) for t in (channel_weight, proj_weight, height_bias, width_bias, proj_bias)
        )
        weights, bias = torch.cat([sum(ahead, w_c), *away], 1), b_h + b_w  # of the plain sum
        if fc1_weight is not None:
            fcs = (t.to(precise) for t in (fc1_weight, fc1_bias, fc2_weight, fc2_bias))
            a = branch_weights(F.linear(total / (h * w), weights, bias), *fcs)  # (3, N, C)
            bias = a[0] * b_h + a[1] * b_w
            a_h, a_w, a_c = a[..., None]
            near = torch.addcmul(torch.addcmul(a_c * w_c, a_h, ahead[0]), a_w, ahead[1])
            weights = torch.cat([near, a_h * away[0], a_w * away[1]], 2)  # (N, C, K)
        weights, bias = proj @ weights, F.linear(bias, proj, proj_bias)
    weights, bias = weights.to(picture.dtype), bias.to(picture.dtype)

    if fc1_weight is None:
        out = pixel_linear(pixels, weights, bias)
    else:
        out = pixel_linear_each(pixels, weights, bias)
    return out.permute(0, 3, 1, 2).contiguous(memory_format=memory_format(x))


def _split(step_size: tuple[int, int], order: str) -> tuple[Group, list[Group]]:
    """The channels of a cycle that look straight ahead, and the groups that look elsewhere."""
    groups = groups_of(period_offsets(step_size, order))
    (ahead,) = (group for group in groups if group.offset == (0, 0))
    return ahead, [group for group in groups if group is not ahead]


def _columns(weight: Tensor, ahead: Group, away: list[Group]) -> tuple[Tensor, Tensor]:
    """The columns (C, C) of the channels that look ahead, zero elsewhere, and the other ones."""
    places = torch.arange(weight.shape[1], device=weight.device) % ahead.period
    near = weight.masked_fill(places != ahead.first, 0)
    return near, joined_columns(weight, away) if away else weight[:, :0]
