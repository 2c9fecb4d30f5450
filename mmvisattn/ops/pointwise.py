"""Products of pixels and a matrix, in the form that PyTorch computes fastest.

In float32 on a CPU that is oneDNN's 1 x 1 convolution: of channels-last maps, which pixels side by
side are, it was 1.2 to 2.3 times as fast as the matrix product, forward and backward.
"""

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
    # One thread multiplies matrices instead of asking oneDNN, unless the convolution is dilated
    # (use_mkldnn in PyTorch's Convolution.cpp). One tap cannot be.
    return F.conv2d(x, weight, bias, stride, dilation=_taps_apart(x, weight))


def pointwise_gradients(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the map, the weight and the bias, from the output's."""
    dilation = [_taps_apart(x, weight)] * 2
    return torch.ops.aten.convolution_backward(
        grad, x, weight, weight.shape[:1], [1, 1], [0, 0], dilation, False, [0, 0], 1, [True] * 3
    )


def pixel_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`linear(x, weight, bias)` for pixels (N, H, W, C) and a weight (O, C)."""
    pixels = x.permute(0, 3, 1, 2)
    if not _is_for_onednn(pixels, weight):
        return F.linear(x, weight, bias)
    return pointwise_conv2d(pixels, weight[:, :, None, None], bias).permute(0, 2, 3, 1)


def pixel_linear_each(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same with a weight (N, O, C) and a bias (N, O) for each picture."""
    n, h, w, _ = x.shape
    if n and _is_for_onednn(x[:1].permute(0, 3, 1, 2), weight[0]):
        each = zip(x.split(1), weight, bias, strict=True)
        return torch.cat([pixel_linear(*one) for one in each])
    return torch.baddbmm(bias[:, None], x.flatten(1, 2), weight.mT).unflatten(1, (h, w))


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is to multiply the pixels of a map (N, C, H, W)."""
    if x.device.type != 'cpu' or x.dtype != torch.float32 or x.dim() != 4 or exporting():
        return False
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    worth = pixels >= LEAST_PIXELS and pixels * weight.numel() >= LEAST_MULTIPLY_ADDS
    return worth and not torch.is_autocast_enabled('cpu') and _has_onednn()


def _taps_apart(x: Tensor, weight: Tensor) -> int:
    return 2 if _is_for_onednn(x, weight) and _is_one_thread() else 1


@torch.compiler.assume_constant_result
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available()


@torch.compiler.assume_constant_result
def _is_one_thread() -> bool:
    return torch.get_num_threads() == 1
