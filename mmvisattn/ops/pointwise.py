"""The 1 x 1 convolution, in the form that PyTorch computes fastest."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .tensors import exporting

# Below, oneDNN's preparations cost more than it saves: measured at 64 to 2048 channels.
LEAST_PIXELS, LEAST_MULTIPLY_ADDS = 128, 2**24


def pointwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | tuple[int, int] = 1
) -> Tensor:
    """`conv2d(x, weight, bias, stride)` for a map (N, C, H, W) and a weight (O, C, 1, 1)."""
    # One thread multiplies matrices instead of asking oneDNN, which is up to twice as fast, unless
    # the convolution is dilated (use_mkldnn in PyTorch's Convolution.cpp). One tap cannot be.
    return F.conv2d(x, weight, bias, stride, dilation=2 if _is_worth_asking(x, weight) else 1)


def pointwise_gradients(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the map, the weight and the bias, from the output's."""
    taps_apart = [2, 2] if _is_worth_asking(x, weight) else [1, 1]
    return torch.ops.aten.convolution_backward(
        grad, x, weight, weight.shape[:1], [1, 1], [0, 0], taps_apart, False, [0, 0], 1, [True] * 3
    )


def _is_worth_asking(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != 'cpu' or x.dtype != torch.float32 or x.dim() != 4 or exporting():
        return False
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    worth = pixels >= LEAST_PIXELS and pixels * weight.numel() >= LEAST_MULTIPLY_ADDS
    return worth and not torch.is_autocast_enabled('cpu') and _is_left_to_one_thread()


@torch.compiler.assume_constant_result
def _is_left_to_one_thread() -> bool:
    return torch.get_num_threads() == 1 and torch.backends.mkldnn.is_available()
