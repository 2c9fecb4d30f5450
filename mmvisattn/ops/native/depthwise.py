"""Depthwise convolution in C++, for maps whose channels lie side by side in memory."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from ..tensors import memory_format
from .build import library

# Work below which another thread costs more than it brings, in multiply-adds.
MULTIPLY_ADDS_PER_THREAD = 2**20


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """(N, C, H, W) to (N, C, H, W), in memory as `x`; half precision is computed in float32."""
    half = torch.is_autocast_enabled('cpu') and x.dtype == torch.float32
    dtype = torch.get_autocast_dtype('cpu') if half else x.dtype
    precise = torch.promote_types(x.dtype, torch.float32)
    pixels = x.to(precise, memory_format=torch.channels_last)
    bias = None if bias is None else bias.to(precise)
    before = dilation * (weight.shape[-1] - 1) // 2
    out = _convolve(pixels, weight.to(precise), bias, dilation, before)
    return out.to(dtype).contiguous(memory_format=memory_format(x))


@torch.library.custom_op(
    'mmvisattn::native_depthwise_conv2d',
    mutates_args=(),
    device_types='cpu',
    schema='(Tensor x, Tensor weight, Tensor? bias, int dilation, int before) -> Tensor',
)
def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, before: int) -> Tensor:
    """As above, with `before` zeros on the left and at the top, and the rest on the other sides."""
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    taps = weight.flatten(1).T.contiguous()  # (k * k, C)
    bias = None if bias is None else bias.contiguous()
    _run('depthwise', x, taps, bias, out, k=weight.shape[-1], dilation=dilation, before=before)
    return out


@torch.library.custom_op(
    'mmvisattn::native_depthwise_conv2d_weight_gradient',
    mutates_args=(),
    device_types='cpu',
    schema='(Tensor x, Tensor grad, int k, int dilation, int before) -> Tensor',
)
def _weight_gradient(x: Tensor, grad: Tensor, k: int, dilation: int, before: int) -> Tensor:
    """The gradients of weight and bias, one under the other: (k * k + 1, C)."""
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    out = x.new_empty(k * k + 1, x.shape[1])
    _run('depthwise_weight_gradient', x, grad, out, k=k, dilation=dilation, before=before)
    return out


def _run(name: str, x: Tensor, *others: Tensor | None, k: int, dilation: int, before: int) -> None:
    n, c, h, w = x.shape
    function = getattr(library(), f'{name}_{str(x.dtype).removeprefix("torch.")}')
    pointers = (ctypes.c_void_p(None if t is None else t.data_ptr()) for t in (x, *others))
    shape = (ctypes.c_int64 * 7)(n, h, w, c, k, dilation, before)
    worth = 1 + x.numel() * k * k // MULTIPLY_ADDS_PER_THREAD
    function(*pointers, shape, ctypes.c_int(min(torch.get_num_threads(), worth)))


@_convolve.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, before: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@_weight_gradient.register_fake
def _(x: Tensor, grad: Tensor, k: int, dilation: int, before: int) -> Tensor:
    return x.new_empty(k * k + 1, x.shape[1])


def _input_gradient(grad: Tensor, weight: Tensor, dilation: int, before: int) -> Tensor:
    """The gradient convolved with the weight turned round, and zeros on the other sides."""
    after = dilation * (weight.shape[-1] - 1) - before
    return _convolve(grad, weight.flip(2, 3), None, dilation, after)


def _keep(ctx, inputs: tuple, output: Tensor) -> None:
    first, second, *_, ctx.dilation, ctx.before = inputs
    ctx.save_for_backward(first, second)


def _convolve_backward(ctx, grad: Tensor) -> tuple:
    x, weight = ctx.saved_tensors
    geometry = ctx.dilation, ctx.before
    needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
    grad_x = grad_weight = grad_bias = None
    if needs_x:
        grad_x = _input_gradient(grad, weight, *geometry)
    if needs_weight or needs_bias:
        sums = _weight_gradient(x, grad, weight.shape[-1], *geometry)
        grad_weight, grad_bias = sums[:-1].T.reshape(weight.shape), sums[-1]
    return grad_x, grad_weight, grad_bias if needs_bias else None, None, None


def _weight_gradient_backward(ctx, grad: Tensor) -> tuple:
    """For gradients of gradients: the sums are linear in the map and in the output's gradient."""
    x, grad_out = ctx.saved_tensors
    geometry = ctx.dilation, ctx.before
    k = math.isqrt(grad.shape[0])
    weight, bias = grad[:-1].T.reshape(-1, 1, k, k), grad[-1]
    by_x, by_grad, *_ = ctx.needs_input_grad
    grad_x = _input_gradient(grad_out, weight, *geometry) if by_x else None
    grad_grad = _convolve(x, weight, bias, *geometry) if by_grad else None
    return grad_x, grad_grad, None, None, None


_convolve.register_autograd(_convolve_backward, setup_context=_keep)
_weight_gradient.register_autograd(_weight_gradient_backward, setup_context=_keep)
