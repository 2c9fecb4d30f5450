"""What the operators ask of tensors, and how they take them in pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.autograd import forward_ad
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


def expect_dilation(dilation: int) -> None:
    """Check the distance between the taps of a kernel.

    Raises:
        UserError: Less than 1.
    """
    if dilation < 1:
        raise UserError('taps lie a pixel or more apart', expected='dilation >= 1', got=dilation)


def memory_format(x: Tensor) -> torch.memory_format:
    """How a map (N, C, H, W) lies in memory; `contiguous_format` where both would be right."""
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def dtype_under_autocast(x: Tensor) -> torch.dtype:
    """The dtype that a product of `x` computes in."""
    device = x.device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return x.dtype
    return torch.get_autocast_dtype(device) if x.dtype == torch.float32 else x.dtype


def as_products_take(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """The tensors as a product would take them: under autocast, in its dtype."""
    return tuple(None if t is None else t.to(dtype_under_autocast(t)) for t in tensors)


def exporting() -> bool:
    """Whether a graph is written down to be run elsewhere: torch.export, ONNX or TorchScript."""
    exported = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
    return exported or torch.jit.is_tracing()


def transformed() -> bool:
    """Whether torch.func or forward-mode derivatives go through what is computed.

    They follow PyTorch's own operators, and not those that are registered beside them.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def without_autocast(device: str) -> AbstractContextManager:
    """Products in the dtype of their factors, on every device that has them."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def records_steps() -> bool:
    """Whether each step is written into a graph, which many small pieces would make huge."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Whether a backward pass may follow. Exporters know no `torch.autograd.Function`."""
    trained = any(t is not None and t.requires_grad for t in tensors)
    return torch.is_grad_enabled() and trained and not exporting()


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
