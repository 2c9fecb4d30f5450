"""The fully connected layers of MLP networks, which CycleFC is compared with (CycleMLP, Figure 1).

Stock PyTorch computes them as well as can be; they are here to be counted with the others.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from .backends import Backend, Call, dispatch
from .tensors import expect_shape


def channel_fc(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Mix the channels of each pixel; any picture size.

    Args:
        x: Map (N, C, H, W).
        weight: (O, C, 1, 1).
        bias: (O,), or None.

    Returns:
        Map (N, O, H, W).

    Raises:
        UserError: Shapes that do not fit together.
    """
    expect_shape('x', x, 'NCHW')
    n, c, h, w = x.shape
    expect_shape('weight', weight, ('O', c, 1, 1))
    o = weight.shape[0]
    expect_shape('bias', bias, (o,))
    return dispatch(
        Call(
            'channel_fc',
            CHANNEL_BACKENDS,
            forced=None,
            args=(x, weight, bias),
            shape=(n, o, h, w),
            multiply_adds=n * h * w * c * o,
        )
    )


def spatial_fc(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Mix the pixels of each channel, as MLP-Mixer mixes tokens; one picture size alone.

    Args:
        x: Map (N, C, H, W).
        weight: (P, H * W).
        bias: (P,), or None.

    Returns:
        Map (N, C, H, W) where P is H * W, else (N, C, P, 1): tokens that form no picture.

    Raises:
        UserError: A map of another size than the weight's, or shapes that do not fit together.
    """
    expect_shape('x', x, 'NCHW')
    expect_shape('weight', weight, ('P', 'H * W'))
    n, c, h, w = x.shape
    p, pixels = weight.shape
    if h * w != pixels:
        raise UserError(
            'spatial_fc has one weight per pixel of its input, and so takes one size alone',
            expected=f'a map of {pixels} pixels',
            got=f'{h} x {w} = {h * w} pixels',
            do='bring maps to the size that it was trained with, or use cycle_fc, '
            'which takes any size',
        )
    expect_shape('bias', bias, (p,))
    return dispatch(
        Call(
            'spatial_fc',
            SPATIAL_BACKENDS,
            forced=None,
            args=(x, weight, bias),
            shape=(n, c, h, w) if p == pixels else (n, c, p, 1),
            multiply_adds=n * c * p * pixels,
        )
    )


def _mix_pixels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    mixed = F.linear(x.flatten(2), weight, bias)  # (N, C, P)
    size = x.shape[2:] if weight.shape[0] == weight.shape[1] else (-1, 1)
    return mixed.unflatten(2, size)


CHANNEL_BACKENDS = (Backend('stock', F.conv2d),)
SPATIAL_BACKENDS = (Backend('stock', _mix_pixels),)
