"""What the maps of a network hold: channels, or their principal components as colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError
from ..inference import Inferencer
from .figure import MAP, TEXT, colour_bar, new_figure, title
from .layers import as_map, find_layer, outputs_of, stage_ends, stride_text
from .view import View

CHOICES = ('variance', 'pca')


def feature_maps(network: Inferencer, view: View, layers: Sequence[str]) -> list[Tensor]:
    """What layers return for a picture: a map (C, h', w') of each.

    Raises:
        UserError: A layer that there is not, or that returns no map.
    """
    modules = [find_layer(network.model, layer)[1] for layer in layers]
    with torch.no_grad(), outputs_of(modules) as outputs:
        network.model.extract_feat(view.inputs)
    for number, layer in enumerate(layers):
        if number not in outputs:
            raise UserError(f'{layer} is not run before the head', do='take one of the backbone')
    size = tuple(view.inputs.shape[-2:])
    return [as_map(outputs[number], size)[0] for number in range(len(layers))]


def by_variance(maps: Tensor, count: int) -> list[int]:
    """The channels of a map (C, h, w) that vary most over the picture, most first."""
    return maps.flatten(1).var(1).argsort(descending=True)[:count].tolist()


def principal_components(maps: Tensor, num_components: int = 3) -> tuple[Tensor, Tensor]:
    """The directions in which the pixels of a map (C, h, w) differ most.

    Returns:
        The components (n, h, w), and their shares of the variance (n,). A component's sign is such
        that its largest weight is positive.
    """
    pixels = maps.flatten(1).t().double()
    pixels = pixels - pixels.mean(0)
    u, s, directions = torch.linalg.svd(pixels, full_matrices=False)
    n = min(num_components, len(s))
    largest = directions[:n].gather(1, directions[:n].abs().argmax(1, keepdim=True))
    components = u[:, :n] * s[:n] * largest.sign().t()
    shares = s[:n] ** 2 / (s**2).sum().clamp_min(torch.finfo(s.dtype).tiny)
    return components.t().unflatten(1, maps.shape[1:]), shares


def as_colours(components: Tensor) -> NDArray[np.float32]:
    """Three components as red, green and blue, each from its 1st to its 99th percentile."""
    rgb = components.permute(1, 2, 0).numpy()
    low, high = np.percentile(rgb, [1, 99], axis=(0, 1))
    return np.clip((rgb - low) / np.maximum(high - low, 1e-12), 0, 1).astype(np.float32)


def draw_features(
    network: Inferencer,
    view: View,
    layers: Sequence[str] = (),
    channels: str | Sequence[int] = 'variance',
    count: int = 6,
) -> Figure:
    """A grid: a row for each layer, a column for each channel.

    Args:
        network: The network.
        view: The picture.
        layers: Names of layers; without them, the end of each stage.
        channels: 'variance' for those that vary most, numbers, or 'pca' for one panel with the
            first three principal components as red, green and blue.
        count: How many channels.

    Raises:
        UserError: A layer or channel that there is not.
    """
    if isinstance(channels, str) and channels not in CHOICES:
        raise UserError(
            f'no such choice of channels: {channels}', expected=f'{", ".join(CHOICES)} or numbers'
        )
    ends = stage_ends(network.model)
    layers = list(layers) or [f'stage{i + 1}' for i in range(len(ends))]
    maps = feature_maps(network, view, layers)
    height, width = view.picture.shape[:2]
    with rc_context(TEXT):
        if channels == 'pca':
            return _draw_components(view, layers, maps, height / width)
        chosen = [by_variance(m, count) if channels == 'variance' else channels for m in maps]
        columns = 1 + max(map(len, chosen))
        figure, axes = new_figure(len(layers), columns, height / width, extra=0.28 * len(layers))
        for row, layer, features, numbers in zip(axes, layers, maps, chosen, strict=True):
            _check_channels(layer, features, numbers)
            _begin_row(row, view, layer, features)
            limits = _limits(features[numbers])
            for axis, number in zip(row[1:], numbers, strict=False):
                shown = view.on_picture(features[number].numpy())
                axis.imshow(shown, cmap=MAP, vmin=limits[0], vmax=limits[1])
                title(axis, f'channel {number}')
            colour_bar(row[len(numbers)], limits, 'activation')
    return figure


def _draw_components(
    view: View, layers: Sequence[str], maps: Sequence[Tensor], ratio: float
) -> Figure:
    figure, axes = new_figure(1, 1 + len(layers), ratio, extra=0.95)
    axes[0, 0].imshow(view.picture)
    title(axes[0, 0], 'picture')
    for axis, layer, features in zip(axes[0, 1:], layers, maps, strict=True):
        components, shares = principal_components(features)
        if len(components) < 3:
            raise UserError(f'{layer} has too few channels for colours', got=len(components))
        rgb = as_colours(components)
        axis.imshow(np.stack([view.on_picture(rgb[..., i]) for i in range(3)], 2))
        title(axis, f'{layer}\n{_size_text(view, features)}')
        axis.set_xlabel(', '.join(f'{share:.0%}' for share in shares))
    handles = [Patch(color=c, label=f'component {i + 1}') for i, c in enumerate(('r', 'lime', 'b'))]
    figure.legend(
        handles=handles,
        title='principal components, and above their shares of the variance',
        loc='outside lower center',
        ncols=3,
        frameon=False,
    )
    return figure


def _begin_row(row: NDArray, view: View, layer: str, features: Tensor) -> None:
    row[0].imshow(view.picture)
    row[0].set_ylabel(layer.replace('.', '.\n'))
    title(row[0], _size_text(view, features))


def _size_text(view: View, features: Tensor) -> str:
    stride = stride_text(tuple(features.shape[1:]), tuple(view.inputs.shape[-2:]))
    return f'{features.shape[0]} channels, {stride}'


def _limits(features: Tensor) -> tuple[float, float]:
    """What colours reach to: single cells far out would leave all others one colour."""
    low, high = np.percentile(features.numpy(), [1, 99])
    return float(low), float(high)


def _check_channels(layer: str, features: Tensor, numbers: Sequence[int]) -> None:
    wrong = [n for n in numbers if not 0 <= n < len(features)]
    if wrong:
        raise UserError(
            f'{layer} has no channel {wrong[0]}', expected=f'0 to {len(features) - 1}', got=wrong[0]
        )
