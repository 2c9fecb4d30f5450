"""CycleFC as shifts of the map and one 1 x 1 convolution."""

from __future__ import annotations

from torch import Tensor

from ..pointwise import pointwise_conv2d
from ..tensors import records_steps
from .gather import gather, groups_of, joined_columns, shift
from .offsets import period_offsets


def cycle_fc(
    x: Tensor, weight: Tensor, bias: Tensor | None, step_size: tuple[int, int], order: str
) -> Tensor:
    """(N, C, H, W) to (N, O, H, W).

    Channels r, r + period, r + 2 * period ... look the same way: they are one slice of the map.
    Where slices are joined as they come, the weight's columns follow them.
    """
    groups = groups_of(period_offsets(step_size, order))
    if records_steps():
        return pointwise_conv2d(gather(x, groups), joined_columns(weight, groups), bias)
    return pointwise_conv2d(shift(x, groups), weight, bias)
