"""Derivatives of any order for kernels that are linear in a map and in a weight."""

import torch
from torch import Tensor
from torch.library import CustomOpDef


def register_derivatives(
    forward: CustomOpDef, input_gradient: CustomOpDef, weight_gradient: CustomOpDef
) -> None:
    """Let autograd know three operators as each other's derivatives.

    Args:
        forward: (x, weight, bias or None, geometry) to a map; linear in x and in the weight.
        input_gradient: (gradient of the map, weight, geometry) to the gradient of x.
        weight_gradient: (gradient of the map, x, geometry) to the gradient of the weight.
    """

    def keep(ctx: object, inputs: tuple, output: Tensor) -> None:
        first, second, *bias, ctx.geometry = inputs
        ctx.bias_dtype = bias[0].dtype if bias and bias[0] is not None else None
        ctx.save_for_backward(first, second)

    def for_x(ctx: object, gradient: Tensor, weight: Tensor, needed: bool) -> Tensor | None:
        return input_gradient(gradient, weight, ctx.geometry) if needed else None

    def for_weight(
        ctx: object, gradient: Tensor, x: Tensor, weight: Tensor, needed: bool
    ) -> Tensor | None:
        return weight_gradient(gradient, x, ctx.geometry).to(weight.dtype) if needed else None

    def for_gradient(ctx: object, x: Tensor, weight: Tensor, needed: bool) -> Tensor | None:
        return forward(x, weight, None, ctx.geometry) if needed else None

    def forward_backward(ctx: object, gradient: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        bias = None
        if needs_bias:
            bias = gradient.sum((0, 2, 3), dtype=torch.float32).to(ctx.bias_dtype)
        return (
            for_x(ctx, gradient, weight, needs_x),
            for_weight(ctx, gradient, x, weight, needs_weight),
            bias,
            None,
        )

    def input_gradient_backward(ctx: object, x: Tensor) -> tuple:
        gradient, weight = ctx.saved_tensors
        needs_gradient, needs_weight, _ = ctx.needs_input_grad
        return (
            for_gradient(ctx, x, weight, needs_gradient),
            for_weight(ctx, gradient, x, weight, needs_weight),
            None,
        )

    def weight_gradient_backward(ctx: object, weight: Tensor) -> tuple:
        gradient, x = ctx.saved_tensors
        needs_gradient, needs_x, _ = ctx.needs_input_grad
        return (
            for_gradient(ctx, x, weight, needs_gradient),
            for_x(ctx, gradient, weight, needs_x),
            None,
        )

    forward.register_autograd(forward_backward, setup_context=keep)
    input_gradient.register_autograd(input_gradient_backward, setup_context=keep)
    weight_gradient.register_autograd(weight_gradient_backward, setup_context=keep)
