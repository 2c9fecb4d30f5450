"""CycleFC (CycleMLP, Chen et al., ICLR 2022, arXiv:2107.10224, Figure 1)."""

from __future__ import annotations

from torch import Tensor

from .. import kernels
from ..backends import Backend, Call, dispatch, precisely
from ..tensors import expect_shape
from .naive import cycle_fc as defined
from .offsets import cycle_offsets, period_offsets
from .shift import cycle_fc as by_shifts

__all__ = ['cycle_fc', 'cycle_offsets']

BACKENDS = (
    Backend('triton', kernels.cycle_fc, kernels.why_not_cycle_fc, kernels.BY_REQUEST),
    Backend('shift', by_shifts),
    Backend('naive', precisely(defined), by_request=True),
)


def cycle_fc(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    step_size: tuple[int, int] = (1, 3),
    *,
    order: str = 'released',
    backend: str | None = None,
) -> Tensor:
    """Mix the channels of pixels that lie on a small cycle, one pixel per channel.

        out[n, :, i, j] = sum over c of x[n, c, i + dy(c), j + dx(c)] * weight[:, c] + bias

    with zero outside the map. It costs what `channel_fc` costs, sees its neighbourhood as a
    convolution does, and takes any picture size.

    Args:
        x: Map (N, C, H, W).
        weight: (O, C, 1, 1).
        bias: (O,), or None.
        step_size: (S_H, S_W), the height and width of the cycle.
        order: Which channel looks where, see `cycle_offsets`.
        backend: Name of the backend; None takes the best.

    Returns:
        Map (N, O, H, W).

    Raises:
        UserError: Shapes that do not fit together, a step size or order that does not exist, or
            a backend that does not exist or cannot run.

    Examples:
        >>> x = torch.arange(1.0, 5.0).reshape(1, 1, 1, 4).expand(1, 3, 1, 4)
        >>> cycle_fc(x, torch.eye(3)[..., None, None])[0, :, 0]  # offsets 0, 1, -1
        tensor([[1., 2., 3., 4.],
                [2., 3., 4., 0.],
                [0., 1., 2., 3.]])
    """
    expect_shape('x', x, 'NCHW')
    n, c, h, w = x.shape
    expect_shape('weight', weight, ('O', c, 1, 1))
    o = weight.shape[0]
    expect_shape('bias', bias, (o,))
    period_offsets(step_size, order)  # raises for what does not exist
    return dispatch(
        Call(
            'cycle_fc',
            BACKENDS,
            backend,
            args=(x, weight, bias, step_size, order),
            shape=(n, o, h, w),
            multiply_adds=n * h * w * c * o,
        )
    )
