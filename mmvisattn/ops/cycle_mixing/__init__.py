"""The spatial half of CycleMLP's block (Chen et al., ICLR 2022, arXiv:2107.10224, Section 3.2)."""

from __future__ import annotations

from torch import Tensor

from ...errors import UserError
from ..backends import Backend, Call, dispatch, precisely
from ..cycle_fc.offsets import period_offsets
from ..tensors import expect_shape, exporting
from .branches import cycle_mixing as by_branches
from .folded import cycle_mixing as by_folding
from .folded import why_not as why_not_fold
from .naive import cycle_mixing as defined

__all__ = ['cycle_mixing']

BACKENDS = (
    Backend('folded', by_folding, why_not_fold),
    Backend('branches', by_branches),
    Backend('naive', precisely(defined), by_request=True),
)


def cycle_mixing(
    x: Tensor,
    height_weight: Tensor,
    height_bias: Tensor,
    width_weight: Tensor,
    width_bias: Tensor,
    channel_weight: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    fc1_weight: Tensor | None = None,
    fc1_bias: Tensor | None = None,
    fc2_weight: Tensor | None = None,
    fc2_bias: Tensor | None = None,
    step_sizes: tuple[tuple[int, int], tuple[int, int]] = ((1, 3), (3, 1)),
    *,
    order: str = 'released',
    backend: str | None = None,
) -> Tensor:
    """Mix a map by a CycleFC along each axis and a channel FC, weighted by their means.

        h, w, c = cycle_fc(x, height), cycle_fc(x, width), channel_fc(x)
        a_h, a_w, a_c = softmax(fc2(gelu(fc1(mean of h + w + c over the map))))
        out = proj(a_h * h + a_w * w + a_c * c)

    with a weight for each sample, channel and branch; all are 1 where fc1 and fc2 are left out.

    Args:
        x: Map (N, C, H, W); channels-last is faster.
        height_weight: (C, C, 1, 1), of the first CycleFC.
        height_bias: (C,).
        width_weight: (C, C, 1, 1), of the second CycleFC.
        width_bias: (C,).
        channel_weight: (C, C).
        proj_weight: (C, C).
        proj_bias: (C,).
        fc1_weight: (R, C), or None.
        fc1_bias: (R,), or None.
        fc2_weight: (3 C, R), or None. Outputs 3 i, 3 i + 1 and 3 i + 2 weigh h, w and c of
            channel i.
        fc2_bias: (3 C,), or None.
        step_sizes: (S_H, S_W) of the two CycleFC.
        order: Which channel looks where, see `cycle_offsets`.
        backend: Name of the backend; None takes the best.

    Returns:
        Map (N, C, H, W).

    Raises:
        UserError: Shapes that do not fit together, some of fc1 and fc2 without the rest, a step
            size or order that does not exist, or a backend that does not exist or cannot run.
    """
    expect_shape('x', x, 'NCHW')
    n, c, h, w = x.shape
    for name, weight in (('height_weight', height_weight), ('width_weight', width_weight)):
        expect_shape(name, weight, (c, c, 1, 1))
    for name, weight in (('channel_weight', channel_weight), ('proj_weight', proj_weight)):
        expect_shape(name, weight, (c, c))
    biases = dict(height_bias=height_bias, width_bias=width_bias, proj_bias=proj_bias)
    for name, bias in biases.items():
        expect_shape(name, bias, (c,))
    fcs = (fc1_weight, fc1_bias, fc2_weight, fc2_bias)
    hidden = 0
    if any(t is not None for t in fcs):
        if any(t is None for t in fcs):
            raise UserError(
                'cycle_mixing cannot weigh its branches by a part of two layers',
                expected='fc1_weight, fc1_bias, fc2_weight and fc2_bias, or none of them',
                got=f'{sum(t is not None for t in fcs)} of them',
            )
        expect_shape('fc1_weight', fc1_weight, ('R', c))
        hidden = fc1_weight.shape[0]
        expect_shape('fc1_bias', fc1_bias, (hidden,))
        expect_shape('fc2_weight', fc2_weight, (3 * c, hidden))
        expect_shape('fc2_bias', fc2_bias, (3 * c,))
    if len(step_sizes) != 2:
        raise UserError(
            'step_sizes are those of the two CycleFC',
            expected='two pairs (S_H, S_W), such as ((1, 3), (3, 1))',
            got=step_sizes,
        )
    for step_size in step_sizes:
        period_offsets(step_size, order)  # raises for what does not exist
    if backend is None and exporting():
        backend = 'branches'  # whose weights are constants, whatever the size
    return dispatch(
        Call(
            'cycle_mixing',
            BACKENDS,
            backend,
            args=(
                x,
                height_weight,
                height_bias,
                width_weight,
                width_bias,
                channel_weight,
                proj_weight,
                proj_bias,
                *fcs,
                step_sizes,
                order,
            ),
            shape=(n, c, h, w),
            multiply_adds=n * h * w * 4 * c**2 + n * hidden * 4 * c,
        )
    )
