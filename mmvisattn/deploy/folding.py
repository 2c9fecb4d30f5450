"""The algebra of folding: factors and shifts of channels, as part of a convolution beside them."""

from __future__ import annotations

from collections import Counter

import torch
from mmcv.cnn.bricks import wrappers
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers import DepthwiseConv2d, PointwiseConv2d

# A subclass that computes with other weights than it holds (weight standardisation) is none.
CONVOLUTIONS = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    wrappers.Conv2d,
    wrappers.ConvTranspose2d,
    PointwiseConv2d,
    DepthwiseConv2d,
)


class Folder:
    """Folds inside one model, in place, what only one layer of it owns.

    Args:
        model: The model, in evaluation mode.

    Attributes:
        num_folded: How many layers have become part of another so far.
    """

    def __init__(self, model: nn.Module) -> None:
        self.num_folded = 0
        modules = list(model.modules())
        owned = [id(child) for m in modules for child in m._modules.values() if child is not None]
        owned += [id(p) for m in modules for p in m._parameters.values() if p is not None]
        self._shared = {key for key, owners in Counter(owned).items() if owners > 1}

    def after(self, owner: nn.Module, conv: str, norm: str) -> None:
        """Fold `owner.norm` into `owner.conv`, whose output it normalises, if that is exact."""
        self.into_last(owner, norm, getattr(owner, conv))

    def into_last(self, owner: nn.Module, norm: str, conv: nn.Module) -> None:
        """Fold `owner.norm` into a convolution before it, if that is exact."""
        layer = getattr(owner, norm)
        if self._is_norm(layer) and self.is_own_conv(conv):
            scale_output(conv, *scale_and_shift(layer))
            self._remove(owner, norm)

    def before(self, owner: nn.Module, norm: str, conv: nn.Module) -> None:
        """Fold `owner.norm` into the convolution that reads its output, if that is exact.

        It is where the convolution pads nothing: padding is zero after the normalisation.
        """
        layer = getattr(owner, norm)
        if self._is_norm(layer) and self.reads_affine(conv):
            scale_input(conv, *scale_and_shift(layer))
            self._remove(owner, norm)

    def scale(self, owner: nn.Module, factors: str, gamma: Tensor, conv: nn.Module) -> None:
        """Fold the layer `owner.factors`, which multiplies channels by gamma, into `conv`."""
        if self.is_own_conv(conv):
            scale_output(conv, gamma.double())
            self._remove(owner, factors)

    def reads_affine(self, conv: nn.Module) -> bool:
        """Whether factors and shifts of a convolution's input can become part of it."""
        pads = getattr(conv, 'padding', None) not in (0, (0, 0), 'valid')
        return self.is_own_conv(conv) and not conv.transposed and conv.groups == 1 and not pads

    def can_fold(self, norm: nn.Module, conv: nn.Module) -> bool:
        """Whether a normalisation can become part of the convolution that reads it."""
        return self._is_norm(norm) and self.reads_affine(conv)

    def is_own_conv(self, layer: nn.Module) -> bool:
        """Whether a layer is a plain convolution that no other part of the model shares."""
        plain = type(layer) in CONVOLUTIONS and layer._parameters.get('weight') is not None
        if not plain or self._is_shared(layer):
            return False
        return not layer.transposed or layer.groups == 1

    def _is_norm(self, layer: nn.Module) -> bool:
        fixed = isinstance(layer, _BatchNorm) and layer.running_mean is not None
        return fixed and not self._is_shared(layer)

    def _is_shared(self, layer: nn.Module) -> bool:
        return not self._shared.isdisjoint({id(layer), *map(id, layer.parameters())})

    def _remove(self, owner: nn.Module, name: str) -> None:
        setattr(owner, name, nn.Identity())
        self.num_folded += 1


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Factor and shift of each channel that a BatchNorm is in evaluation mode, float64."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.weight is not None:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double()
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    return scale, shift


@torch.no_grad()
def scale_output(conv: nn.Conv2d, scale: Tensor, shift: Tensor | float = 0.0) -> None:
    """Let a convolution give `scale * conv(x) + shift`, both of its output's channels."""
    weight = conv.weight.double()
    bias = 0.0 if conv.bias is None else conv.bias.double()
    shape = (-1, 1, 1) if conv.transposed else (-1, 1, 1, 1)
    _assign(conv, weight * scale.view(shape), bias * scale + shift)


@torch.no_grad()
def scale_input(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Let a convolution without padding or groups give `conv(scale * x + shift)`."""
    weight = conv.weight.double()
    bias = 0.0 if conv.bias is None else conv.bias.double()
    _assign(conv, weight * scale.view(-1, 1, 1), bias + weight.sum((2, 3)) @ shift)


def _assign(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    layout = torch.empty_like(conv.weight)  # in the convolution's own dtype and memory format
    conv.weight = nn.Parameter(layout.copy_(weight), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(weight.device, layout.dtype), requires_grad=False)
