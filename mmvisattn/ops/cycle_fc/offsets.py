"""Which channel of CycleFC looks where."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UserError, did_you_mean

ORDERS = ('released', 'paper')


def cycle_offsets(channels: int, step_size: tuple[int, int], order: str) -> Tensor:
    """The pixel that each channel looks at, seen from the output's pixel.

    Args:
        channels: C.
        step_size: (S_H, S_W), the height and width of the cycle.
        order: 'paper' follows the formula of the paper:
            dy(c) = c mod S_H - S_H // 2, dx(c) = (c // S_H) mod S_W - S_W // 2.
            'released' follows the authors' code and weights, which start in the cycle's middle
            and go along one axis alone: d(c) = (c + S // 2) mod S - S // 2.

    Returns:
        Long tensor (C, 2) of (dy, dx).

    Raises:
        UserError: A step size or order that does not exist.

    Examples:
        >>> cycle_offsets(5, (1, 3), 'released').tolist()
        [[0, 0], [0, 1], [0, -1], [0, 0], [0, 1]]
        >>> cycle_offsets(5, (1, 3), 'paper').tolist()
        [[0, -1], [0, 0], [0, 1], [0, -1], [0, 0]]
    """
    period = period_offsets(step_size, order)
    return torch.tensor([period[c % len(period)] for c in range(channels)])


def period_offsets(step_size: tuple[int, int], order: str) -> list[tuple[int, int]]:
    """The (dy, dx) of the first S_H * S_W channels, which all later ones repeat.

    Raises:
        UserError: A step size or order that does not exist.
    """
    if order not in ORDERS:
        raise UserError(
            'cycle_fc has no such order',
            expected=', '.join(ORDERS),
            got=order,
            do=did_you_mean(order, list(ORDERS)),
        )
    if len(step_size) != 2 or min(step_size) < 1:
        raise UserError('step_size is not a size', expected='(height, width)', got=step_size)
    s_h, s_w = step_size
    if order == 'released' and min(step_size) > 1:
        raise UserError(
            'the released order goes along one axis alone',
            expected='a step_size of (1, S) or (S, 1)',
            got=step_size,
            do="use order='paper', which goes along both",
        )
    start = s_h * s_w // 2 if order == 'released' else 0
    return [
        ((c + start) % s_h - s_h // 2, (c + start) // s_h % s_w - s_w // 2)
        for c in range(s_h * s_w)
    ]
