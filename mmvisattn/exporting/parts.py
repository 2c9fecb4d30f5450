"""Parts of the libraries' heads whose own code is for one size, as plain steps of any size."""

from __future__ import annotations

from collections.abc import Sequence

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


OUTSIDE = -1e4  # in pixels: where every map is zero


class AnyBoxesExtractor(nn.Module):
    """mmdet's `SingleRoIExtractor` in the same steps whatever boxes there are.

    Every level reads all boxes, and those of other levels far outside of the picture, where there
    is nothing to read and nothing to add.

    Args:
        extractor: mmdet's own, of RoIAlign.
    """

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.roi_layers = extractor.roi_layers
        self.finest_scale = extractor.finest_scale
        self.num_inputs = extractor.num_inputs

    def forward(self, maps: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Maps and boxes (K, 5), the first column the number of the picture, to (K, C, h, w)."""
        from torchvision.ops import roi_align

        sides = rois[:, 3:] - rois[:, 1:3]
        scale = sides.prod(1, keepdim=True).sqrt() / self.finest_scale + 1e-6
        # The whole part of the scale's base-2 logarithm.
        level = sum((scale >= 2**i).long() for i in range(1, len(maps)))
        outside = torch.cat([rois[:, :1], torch.full_like(rois[:, 1:], OUTSIDE)], 1)
        found = []
        for i, (layer, x) in enumerate(zip(self.roi_layers, maps, strict=True)):
            own = torch.where(level == i, rois, outside) if len(maps) > 1 else rois
            found.append(
                roi_align(
                    x,
                    own,
                    layer.output_size,
                    layer.spatial_scale,
                    layer.sampling_ratio,
                    layer.aligned,
                )
            )
        return sum(found)


def reads_any_boxes(part: nn.Module) -> bool:
    """Whether it is an extractor that `AnyBoxesExtractor` can stand in for."""
    return type(part).__name__ == 'SingleRoIExtractor' and all(
        type(layer).__name__ == 'RoIAlign' and layer.pool_mode == 'avg' for layer in part.roi_layers
    )


def for_any_size(model: nn.Module) -> nn.Module:
    """Replace, in place, the parts of a model whose graph would be for one size."""
    for owner in list(model.modules()):
        for name, part in list(owner.named_children()):
            if isinstance(part, nn.AdaptiveAvgPool2d):
                setattr(owner, name, AnySizePool(part.output_size))
            elif reads_any_boxes(part):
                setattr(owner, name, AnyBoxesExtractor(part))
            elif type(part).__name__ == 'Upsample' and _is_whole(part):
                factor = int(part.scale_factor)
                setattr(owner, name, AnySizeUpsample(factor, part.mode, part.align_corners))
    return model


def _is_whole(part: nn.Module) -> bool:
    factor = getattr(part, 'scale_factor', None)
    return isinstance(factor, int | float) and factor == int(factor) and not part.size
