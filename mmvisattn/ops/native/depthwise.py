"""Depthwise convolution in C++, for maps whose channels lie side by side in memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..tensors import dtype_under_autocast, memory_format
from . import maps
from .layout import laid_out


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """(N, C, H, W) to (N, C, H, W), in memory as `x`; half precision is computed in float32."""
    dtype = dtype_under_autocast(x)
    precise = torch.promote_types(x.dtype, torch.float32)
    pixels = laid_out(x.to(precise), torch.channels_last)
    bias = None if bias is None else bias.to(precise)
    before = zeros_before(weight, dilation)
    out = _convolve(pixels, weight.to(precise), bias, dilation, before)
    return laid_out(out, memory_format(x)).to(dtype)


def zeros_before(weight: Tensor, dilation: int) -> int:
    """How many zeros lie on the left and at the top of a map that keeps its size."""
    return dilation * (weight.shape[-1] - 1) // 2


@torch.library.custom_op(
    'mmvisattn::native_depthwise_conv2d',
    mutates_args=(),
    device_types='cpu',
    schema='(Tensor x, Tensor weight, Tensor? bias, int dilation, int before) -> Tensor',
)
def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, before: int) -> Tensor:
    """As above, with `before` zeros on the left and at the top, and the rest on the other sides."""
    return maps.convolve(laid_out(x, torch.channels_last), weight, bias, dilation, before)


@torch.library.custom_op(
    'mmvisattn::native_depthwise_conv2d_weight_gradient',
    mutates_args=(),
    device_types='cpu',
    schema='(Tensor x, Tensor grad, int k, int dilation, int before) -> Tensor',
)
def _weight_gradient(x: Tensor, grad: Tensor, k: int, dilation: int, before: int) -> Tensor:
    """The gradients of weight and bias, one under the other: (k * k + 1, C)."""
    x, grad = (laid_out(t, torch.channels_last) for t in (x, grad))
    return maps.tap_gradients(x, grad, k, dilation, before)


@_convolve.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, before: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@_weight_gradient.register_fake
def _(x: Tensor, grad: Tensor, k: int, dilation: int, before: int) -> Tensor:
    return x.new_empty(k * k + 1, x.shape[1])


def turned_round(weight: Tensor, dilation: int, before: int) -> tuple[Tensor, None, int, int]:
    """Weight, bias, dilation and zeros before that make the input's gradient of the output's."""
    return weight.flip(2, 3), None, dilation, dilation * (weight.shape[-1] - 1) - before


def parameter_gradients(taps: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias, from those that lie one under the other."""
    return taps[:-1].T.reshape(weight.shape), taps[-1]


def _keep(ctx, inputs: tuple, output: Tensor) -> None:
    first, second, *_, ctx.dilation, ctx.before = inputs
    ctx.save_for_backward(first, second)


def _convolve_backward(ctx, grad: Tensor) -> tuple:
    x, weight = ctx.saved_tensors
    geometry = ctx.dilation, ctx.before
    needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
    grad = laid_out(grad, torch.channels_last)
    grad_x = grad_weight = grad_bias = None
    if needs_x:
        grad_x = _convolve(grad, *turned_round(weight, *geometry))
    if needs_weight or needs_bias:
        taps = _weight_gradient(x, grad, weight.shape[-1], *geometry)
        grad_weight, grad_bias = parameter_gradients(taps, weight)
    return grad_x, grad_weight, grad_bias if needs_bias else None, None, None


def _weight_gradient_backward(ctx, grad: Tensor) -> tuple:
    """For gradients of gradients: the sums are linear in the map and in the output's gradient."""
    x, grad_out = ctx.saved_tensors
    geometry = ctx.dilation, ctx.before
    k = math.isqrt(grad.shape[0])
    weight, bias = grad[:-1].T.reshape(-1, 1, k, k), grad[-1]
    by_x, by_grad, *_ = ctx.needs_input_grad
    grad_x = _convolve(grad_out, *turned_round(weight, *geometry)) if by_x else None
    grad_grad = _convolve(x, weight, bias, *geometry) if by_grad else None
    return grad_x, grad_grad, None, None, None


_convolve.register_autograd(_convolve_backward, setup_context=_keep)
_weight_gradient.register_autograd(_weight_gradient_backward, setup_context=_keep)
