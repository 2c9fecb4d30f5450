"""Parts of the libraries' heads whose own code is for one size, as plain steps of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AnySizePool(nn.Module):
    """`nn.AdaptiveAvgPool2d` as two products with means of rows and of columns.

    Args:
        size: Height and width of the result.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, *size)."""
        if self.size == (1, 1):
            return x.mean((2, 3), keepdim=True)
        rows, columns = (_means(n, m, x) for n, m in zip(x.shape[2:], self.size, strict=True))
        return rows @ x @ columns.transpose(0, 1)


def _means(length: int, count: int, like: Tensor) -> Tensor:
    """(count, length): row i holds the weights of the i-th mean, as PyTorch cuts the axis."""
    place = torch.arange(count, device=like.device)[:, None]
    first = place * length // count
    end = ((place + 1) * length + count - 1) // count
    position = torch.arange(length, device=like.device)
    inside = ((position >= first) & (position < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


class AnySizeUpsample(nn.Module):
    """mmseg's `Upsample` by a whole factor, whose own code turns sizes into numbers."""

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, factor * H, factor * W)."""
        size = [n * self.factor for n in x.shape[2:]]
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def for_any_size(model: nn.Module) -> nn.Module:
    """Replace, in place, the parts of a model whose graph would be for one size."""
    for owner in list(model.modules()):
        for name, part in list(owner.named_children()):
            if isinstance(part, nn.AdaptiveAvgPool2d):
                setattr(owner, name, AnySizePool(part.output_size))
            elif type(part).__name__ == 'Upsample' and _is_whole(part):
                factor = int(part.scale_factor)
                setattr(owner, name, AnySizeUpsample(factor, part.mode, part.align_corners))
    return model


def _is_whole(part: nn.Module) -> bool:
    factor = getattr(part, 'scale_factor', None)
    return isinstance(factor, int | float) and factor == int(factor) and not part.size
