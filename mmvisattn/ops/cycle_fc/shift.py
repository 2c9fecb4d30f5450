"""CycleFC as shifts of the map and one 1 x 1 convolution."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..tensors import records_steps
from .gather import gather, groups_of, joined_columns, shift
from .offsets import period_offsets


def cycle_fc(
    x: Tensor, weight: Tensor, bias: Tensor | None, step_size: tuple[int, int], order: str
) -> Tensor:
    """(N, C, H, W) to (N, O, H, W)."""
    return F.conv2d(*factors(x, weight, step_size, order), bias)


def factors(
    x: Tensor, weight: Tensor, step_size: tuple[int, int], order: str
) -> tuple[Tensor, Tensor]:
    """The map (N, C, H, W) and the weight (O, C, ...) whose 1 x 1 product CycleFC is.

    Channels r, r + period, r + 2 * period ... look the same way: they are one slice of the map.
    Where slices are joined as they come, the weight's columns follow them.
    """
    groups = groups_of(period_offsets(step_size, order))
    if records_steps():
        return gather(x, groups), joined_columns(weight, groups)
    return shift(x, groups), weight
