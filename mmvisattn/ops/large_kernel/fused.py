"""Large kernel attention as one operator in C++ and PyTorch: the backward pass reuses its memory.

With `gate` for pointwise(dilated(depthwise(x))), of out = x * gate,

    grad_gate = grad * x
    grad_x = grad * gate + depthwise'(dilated'(pointwise'(grad_gate)))

where ' turns a convolution round. New memory costs as much as a pass over it, so each gradient is
written over one that is no longer needed, and the product is added where grad_x is computed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import native
from ..native import maps
from ..native.depthwise import parameter_gradients, turned_round, zeros_before
from ..native.layout import laid_out
from ..pointwise import pointwise_conv2d, pointwise_gradients
from ..tensors import memory_format, needs_gradient
from .composed import composed

_composed = composed(native.depthwise_conv2d, torch.channels_last)


def large_kernel_attention(x: Tensor, *others: Tensor | int | None) -> Tensor:
    """(N, C, H, W) to (N, C, H, W); `others` are the parameters and the dilation."""
    *parameters, _ = others
    mixed = torch.is_autocast_enabled('cpu') or any(
        p is not None and p.dtype != x.dtype for p in parameters
    )
    precise = x.dtype in (torch.float32, torch.float64)
    # The backward pass computes all gradients, whether they are needed or not.
    all_needed = all(needs_gradient(t) for t in (x, *parameters[::2]))
    pixels = laid_out(x, torch.channels_last)
    if mixed or not precise or not all_needed:
        out = _composed(pixels, *others)
    else:
        out, *_ = _attend(pixels, *others)
    return laid_out(out, memory_format(x))


_PARAMETERS = 'Tensor w0, Tensor? b0, Tensor w1, Tensor? b1, Tensor w2, Tensor? b2, int dilation'


@torch.library.custom_op(
    'mmvisattn::native_large_kernel_attention',
    mutates_args=(),
    device_types='cpu',
    schema=f'(Tensor x, {_PARAMETERS}) -> (Tensor, Tensor, Tensor, Tensor)',
)
def _attend(x, w0, b0, w1, b1, w2, b2, dilation):
    """The output, and what its derivatives need: after the first convolution, the second, gate."""
    x = laid_out(x, torch.channels_last)
    first = maps.convolve(x, w0, b0, 1, zeros_before(w0, 1))
    second = maps.convolve(first, w1, b1, dilation, zeros_before(w1, dilation))
    gate = laid_out(pointwise_conv2d(second, w2, b2), torch.channels_last)
    return x * gate, first, second, gate


@torch.library.custom_op(
    'mmvisattn::native_large_kernel_attention_backward',
    mutates_args=(),
    device_types='cpu',
    schema='(Tensor grad, Tensor x, Tensor first, Tensor second, Tensor gate, Tensor w0, Tensor w1,'
    ' Tensor w2, int dilation) -> (Tensor, Tensor, Tensor, Tensor, Tensor)',
)
def _attend_backward(grad, x, first, second, gate, w0, w1, w2, dilation):
    """Gradients of x, of the taps and bias of the first two convolutions, and of w2 and b2."""
    grad, x = (laid_out(t, torch.channels_last) for t in (grad, x))
    small, large = (1, zeros_before(w0, 1)), (dilation, zeros_before(w1, dilation))
    grad_gate = grad * x
    grad_second, grad_w2, grad_b2 = pointwise_gradients(grad_gate, second, w2)
    grad_second = laid_out(grad_second, torch.channels_last)
    grad_first = maps.convolve(grad_second, *turned_round(w1, *large), out=grad_gate)
    taps1 = maps.tap_gradients(first, grad_second, w1.shape[-1], *large)
    grad_x = maps.convolve(
        grad_first, *turned_round(w0, *small), product=(grad, gate), out=grad_second
    )
    taps0 = maps.tap_gradients(x, grad_first, w0.shape[-1], *small)
    return grad_x, taps0, taps1, grad_w2, grad_b2


@_attend.register_fake
def _(x, *others):
    return tuple(torch.empty_like(x, memory_format=torch.channels_last) for _ in range(4))


@_attend_backward.register_fake
def _(grad, x, first, second, gate, w0, w1, w2, dilation):
    taps = (x.new_empty(w.shape[-1] ** 2 + 1, x.shape[1]) for w in (w0, w1))
    return torch.empty_like(first), *taps, torch.empty_like(w2), x.new_empty(x.shape[1])


def _keep(ctx, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.dilation = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output[1:])


def _backward(ctx, grad: Tensor | None, *unused: None) -> tuple:
    *inputs, first, second, gate = ctx.saved_tensors
    if grad is None:  # nothing depends on the output
        return (None,) * 8
    if torch.is_grad_enabled():
        return *_differentiable_gradients(ctx, inputs, grad), None
    x, w0, b0, w1, b1, w2, b2 = inputs
    grad_x, taps0, taps1, grad_w2, grad_b2 = _attend_backward(
        grad, x, first, second, gate, w0, w1, w2, ctx.dilation
    )
    gradients = (
        grad_x, *parameter_gradients(taps0, w0), *parameter_gradients(taps1, w1), grad_w2, grad_b2,
    )  # fmt: skip
    return *(g if t is not None else None for g, t in zip(gradients, inputs, strict=True)), None


def _differentiable_gradients(ctx, inputs: list[Tensor | None], grad: Tensor) -> list:
    """By the operators that it is composed of, which know derivatives of any order."""
    needed = [i for i, t in enumerate(inputs) if ctx.needs_input_grad[i]]
    out = _composed(*inputs, ctx.dilation)
    found = torch.autograd.grad(out, [inputs[i] for i in needed], grad, create_graph=True)
    gradients = [None] * len(inputs)
    for i, gradient in zip(needed, found, strict=True):
        gradients[i] = gradient
    return gradients


_attend.register_autograd(_backward, setup_context=_keep)
