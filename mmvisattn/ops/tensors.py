"""What the operators ask of tensors, and how they take them in pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..errors import UserError


def expect_shape(name: str, tensor: Tensor | None, shape: Sequence[int | str]) -> None:
    """Check the shape of an argument, if it is given.

    Args:
        name: The argument's name.
        tensor: The argument.
        shape: Expected sizes; a letter stands for any size.

    Raises:
        UserError: Another shape.
    """
    if tensor is None:
        return
    fits = tensor.dim() == len(shape) and all(
        isinstance(wanted, str) or wanted == size
        for wanted, size in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        raise UserError(
            f'{name} has the wrong shape',
            expected=f'({", ".join(map(str, shape))})',
            got=tuple(tensor.shape),
        )


def memory_format(x: Tensor) -> torch.memory_format:
    """How a map (N, C, H, W) lies in memory; `contiguous_format` where both would be right."""
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def piecewise(function: Callable[..., Tensor], pieces: Sequence[tuple], dim: int) -> Tensor:
    """`function(*piece)` for each piece, joined along `dim`.

    Several pieces keep nothing of their computation for the backward pass, which computes them
    again one by one: its memory is that of one piece, too.
    """
    if len(pieces) == 1:
        return function(*pieces[0])
    if not torch.is_grad_enabled():
        return torch.cat([function(*piece) for piece in pieces], dim)
    return torch.cat(
        [
            checkpoint(function, *piece, use_reentrant=False, preserve_rng_state=False)
            for piece in pieces
        ],
        dim,
    )
