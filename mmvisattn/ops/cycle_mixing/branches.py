"""CycleMLP's spatial mixing as three products, their weighted sum and a fourth."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cycle_fc.shift import cycle_fc
from ..pointwise import pixel_linear
from ..tensors import as_products_take, memory_format
from .reweight import branch_weights


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
    """(N, C, H, W) to (N, C, H, W)."""
    (picture,) = as_products_take(x)
    picture = picture.contiguous(memory_format=torch.channels_last)
    height, width = (
        cycle_fc(picture, weight, bias, step_size, order).permute(0, 2, 3, 1).flatten(1, 2)
        for weight, bias, step_size in zip(
            (height_weight, width_weight), (height_bias, width_bias), step_sizes, strict=True
        )
    )  # (N, H * W, C)
    channel = pixel_linear(picture.permute(0, 2, 3, 1), channel_weight).flatten(1, 2)
    if fc1_weight is None:
        mixed = height + width + channel
    else:
        precise = torch.promote_types(channel.dtype, torch.float32)
        # The gradient of a sum is a view, that of a mean is another map.
        total = sum(branch.sum(1, dtype=precise) for branch in (height, width, channel))
        mean = (total / channel.shape[1]).to(channel.dtype)
        a_h, a_w, a_c = branch_weights(mean, fc1_weight, fc1_bias, fc2_weight, fc2_bias)
        mixed = height * a_h[:, None]
        mixed = torch.addcmul(torch.addcmul(mixed, width, a_w[:, None]), channel, a_c[:, None])
    mixed = mixed.unflatten(1, x.shape[2:])
    out = pixel_linear(mixed, proj_weight, proj_bias).permute(0, 3, 1, 2)
    return out.contiguous(memory_format=memory_format(x))
