"""Each pixel and the square of pixels around it, in C++: products, and sums over the square."""

from __future__ import annotations

import torch
from torch import Tensor

from .build import call


@torch.library.custom_op(
    'mmvisattn::native_neighbour_products',
    mutates_args=(),
    device_types='cpu',
    schema='(Tensor a, Tensor b, int num_heads, int kernel_size) -> Tensor',
)
def neighbour_products(a: Tensor, b: Tensor, num_heads: int, kernel_size: int) -> Tensor:
    """The products of each pixel of `a` with the pixels of `b` around it, head by head.

    Two maps (N, C, H, W) to (N, num_heads, kernel_size, kernel_size, H, W), zero beyond the map.
    """
    n, channels, height, width = a.shape
    out = a.new_empty(n, num_heads, kernel_size, kernel_size, height, width)
    sizes = n, num_heads, channels // num_heads, height, width, kernel_size
    _run('products', (a, b, out), (a, b), sizes)
    return out


@torch.library.custom_op(
    'mmvisattn::native_neighbour_sums',
    mutates_args=(),
    device_types='cpu',
    schema='(Tensor weights, Tensor values, bool turned) -> Tensor',
)
def neighbour_sums(weights: Tensor, values: Tensor, turned: bool) -> Tensor:
    """The sum of the pixels around each, by the weights that it gives them.

    (N, heads, k, k, H, W) and (N, C, H, W) to (N, C, H, W), in memory as `values`. Turned, each
    pixel sums over those that it is a neighbour of, by the weights that they give it.
    """
    weights, out = weights.contiguous(), torch.empty_like(values)
    n, num_heads, kernel_size, _, height, width = weights.shape
    sizes = n, num_heads, values.shape[1] // num_heads, height, width, kernel_size
    _run('sums', (weights, values, out), (values, out), sizes, int(turned))
    return out


def _run(
    name: str,
    tensors: tuple[Tensor, ...],
    strided: tuple[Tensor, ...],
    sizes: tuple[int, ...],
    *options: int,
) -> None:
    """Call a function that takes the sizes and, of some tensors, their strides."""
    n, num_heads, channels, height, width, kernel_size = sizes
    work = n * num_heads * channels * height * width * kernel_size**2
    steps = (x.stride() for x in strided)
    call(f'neighbour_{name}', tensors, *steps, sizes, *options, work=work)


@neighbour_products.register_fake
def _(a: Tensor, b: Tensor, num_heads: int, kernel_size: int) -> Tensor:
    return a.new_empty(a.shape[0], num_heads, kernel_size, kernel_size, *a.shape[2:])


@neighbour_sums.register_fake
def _(weights: Tensor, values: Tensor, turned: bool) -> Tensor:
    return torch.empty_like(values)


def _keep(ctx, inputs: tuple, output: Tensor) -> None:
    first, second, *ctx.options = inputs
    ctx.save_for_backward(first, second)


def _products_backward(ctx, grad: Tensor) -> tuple:
    (a, b), (by_a, by_b, *_) = ctx.saved_tensors, ctx.needs_input_grad
    grad_a = neighbour_sums(grad, b, False) if by_a else None
    grad_b = neighbour_sums(grad, a, True) if by_b else None
    return grad_a, grad_b, None, None


def _sums_backward(ctx, grad: Tensor) -> tuple:
    (weights, values), (by_weights, by_values, _) = ctx.saved_tensors, ctx.needs_input_grad
    (turned,) = ctx.options
    grad_weights = grad_values = None
    if by_weights:
        pair = (values, grad) if turned else (grad, values)
        grad_weights = neighbour_products(*pair, *weights.shape[1:3])
    if by_values:
        grad_values = neighbour_sums(weights, grad, not turned)
    return grad_weights, grad_values, None


neighbour_products.register_autograd(_products_backward, setup_context=_keep)
neighbour_sums.register_autograd(_sums_backward, setup_context=_keep)
