"""Effective receptive fields: how far the middle of the last map sees (Luo et al., NeurIPS 2016,
arXiv:1701.04128), as the CycleMLP paper compares them with Swin's.

How it is measured, and the area figures, follow RepLKNet (Ding et al., CVPR 2022,
arXiv:2203.06717, Table 10): the gradient of the middle of the last map, negative outputs and
gradients left out, summed over channels and pictures; then the smallest square around that cell's
place in the picture that holds a share of the whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine.config import load_config
from ..engine.loading import load_network
from ..errors import UserError
from ..inference.pictures import read_picture
from ..inference.sources import PICTURES
from ..naming import distinct_names
from ..weights import forget_weights, loads_weights
from .figure import LINE, MAP, TEXT, colour_bar, new_figure, title
from .view import strides_of

SHARES = (0.2, 0.3, 0.5, 0.99)
DRAWN = (0.2, 0.5, 0.99)  # of these shares the squares are drawn
RANDOM, PUBLISHED = 'none', 'pretrained'


@dataclass(frozen=True)
class Square:
    """The smallest centred square that holds a share of the contributions.

    Attributes:
        share: Of the contributions of all pixels.
        side: In pixels.
        area: What lies in the picture of it, as a share of the picture.
    """

    share: float
    side: int
    area: float


@dataclass(frozen=True)
class ReceptiveField:
    """What each pixel contributes to the middle of the last map.

    Attributes:
        contributions: (H, W), the largest one 1.
        centre: Row and column that squares are laid around.
        num_pictures: Over how many pictures it was taken.
    """

    contributions: NDArray[np.float64]
    centre: tuple[int, int]
    num_pictures: int

    def square(self, share: float) -> Square:
        """The smallest square that holds this share."""
        height, width = self.contributions.shape
        row, column = self.centre
        total = self.contributions.sum()
        for radius in range(max(height, width)):
            rows = slice(max(row - radius, 0), row + radius + 1)
            columns = slice(max(column - radius, 0), column + radius + 1)
            inside = self.contributions[rows, columns]
            if inside.sum() >= share * total * (1 - 1e-9):
                break
        return Square(share, 2 * radius + 1, inside.size / self.contributions.size)


def receptive_field(
    forward: Callable[[Tensor], Tensor | Sequence[Tensor]], pictures: Iterable[Tensor]
) -> ReceptiveField:
    """Measure it.

    Outputs and gradients below zero are left out, as RepLKNet does. Of outputs that a LayerNorm
    centres the sum over channels would be constant otherwise.

    Args:
        forward: Takes pictures (1, 3, H, W) to a map (1, C, h, w), or to maps, of which the last.
        pictures: All of one size.

    Raises:
        UserError: No pictures, or nothing that the middle depends on.
    """
    total, count = 0.0, 0
    for picture in pictures:
        inputs = picture.detach().requires_grad_()
        maps = forward(inputs)
        last = maps if isinstance(maps, Tensor) else maps[-1]
        cell = tuple(n // 2 for n in last.shape[2:])
        middle = last[:, :, cell[0], cell[1]].relu().sum()
        (gradient,) = torch.autograd.grad(middle, inputs)
        total = total + gradient.relu().sum((0, 1)).double().numpy()
        count += 1
        strides = strides_of(tuple(last.shape[2:]), tuple(inputs.shape[2:]))
    if not count or not np.max(total) > 0:
        raise UserError(
            'there is no receptive field to measure',
            got='no pictures' if not count else 'a middle that depends on no pixel',
        )
    return ReceptiveField(total / total.max(), _centre(total, cell, strides), count)


def _centre(
    contributions: NDArray, cell: tuple[int, int], strides: tuple[float, float]
) -> tuple[int, int]:
    """The middle of the patch, as large as a cell and at most one off it, that contributes most.

    Where in the picture a cell lies depends on paddings: cell i of ResNet around pixel 32 i, of
    Swin around 32 i + 16.
    """
    height, width = (max(1, round(stride)) for stride in strides)
    patches = torch.from_numpy(contributions)[None, None]
    patches = F.avg_pool2d(patches, (height, width), 1)[0, 0]
    first = tuple(max(0, round(s * (i - 1))) for i, s in zip(cell, strides, strict=True))
    near = patches[first[0] : first[0] + 2 * height + 1, first[1] : first[1] + 2 * width + 1]
    row, column = divmod(int(near.argmax()), near.shape[1])
    return first[0] + row + height // 2, first[1] + column + width // 2


def measure_all(
    networks: Sequence[tuple[str, str]],
    size: tuple[int, int],
    folder: str | None = None,
    count: int = 20,
    options: dict | None = None,
) -> dict[str, ReceptiveField]:
    """The receptive fields of several networks, on the same pictures.

    Args:
        networks: (config, checkpoint) of each, as `load_backbone` takes them.
        size: (h, w) of the input.
        folder: Pictures to average over; None takes normal noise.
        count: How many pictures.
        options: Changes to every config.

    Returns:
        {name for a figure: field}; see `names_of`.
    """
    fields = {}
    for name, (config, checkpoint) in zip(names_of(networks), networks, strict=True):
        backbone, cfg = load_backbone(config, checkpoint, options)
        fields[name] = receptive_field(backbone, pictures_for(cfg, size, folder, count))
    return fields


def names_of(networks: Sequence[tuple[str, str]]) -> list[str]:
    """Distinct names: of the configs, with that of the checkpoint where a config comes again."""
    configs = [Path(config).with_suffix('').absolute() for config, _ in networks]
    unique = list(dict.fromkeys(configs))
    names = []
    for config, name in zip(unique, distinct_names(unique), strict=True):
        its = [number for number, other in enumerate(configs) if other == config]
        checkpoints = distinct_names([networks[number][1] for number in its])
        names += [
            (number, f'{name}, {checkpoint}' if len(its) > 1 else name)
            for number, checkpoint in zip(its, checkpoints, strict=True)
        ]
    return [name for _, name in sorted(names)]


def load_backbone(
    config: str, checkpoint: str, options: dict | None = None
) -> tuple[nn.Module, Config]:
    """A config's backbone in evaluation mode, and the config.

    Args:
        config: Path of a config.
        checkpoint: A checkpoint or work dir of the whole network; 'pretrained' for the published
            weights that the config starts from; 'none' for random ones.
        options: Changes to the config.

    Raises:
        UserError: The config or the weights are not what they have to be.
    """
    cfg = load_config(config, options)
    if checkpoint not in (RANDOM, PUBLISHED):
        return load_network(cfg, checkpoint).backbone, cfg
    part = deepcopy(cfg.model.backbone)
    if checkpoint == RANDOM:
        forget_weights(part)
    elif not loads_weights(part.get('init_cfg')):
        raise UserError(f'{config} starts from random weights', do="give 'none' or a checkpoint")
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        backbone = MODELS.build(part)
    logging.disable(logging.WARNING)  # of every layer how it was initialised
    try:
        backbone.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    backbone.eval()
    return backbone, cfg


def pictures_for(
    cfg: Config, size: tuple[int, int], folder: str | None, count: int
) -> Iterator[Tensor]:
    """Pictures (1, 3, h, w) as the config normalises them; without a folder, normal noise.

    Raises:
        UserError: No folder, or no pictures in it.
    """
    if folder is None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(count):
            yield torch.randn(1, 3, *size, generator=generator)
        return
    files = sorted(p for p in Path(folder).rglob('*') if p.suffix.lower() in PICTURES)[:count]
    if not files:
        raise UserError(
            f'no pictures in {folder}',
            expected=f'files that end with {", ".join(sorted(PICTURES))}',
        )
    preprocessor = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    mean, std = (torch.tensor(preprocessor[k]).view(1, 3, 1, 1) for k in ('mean', 'std'))
    for file in files:
        picture = _cropped(read_picture(file), size)
        yield (torch.from_numpy(picture).permute(2, 0, 1)[None].float() - mean) / std


def _cropped(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The middle of a picture, as large as can be, at another size (h, w)."""
    height, width = picture.shape[:2]
    scale = min(height / size[0], width / size[1])
    h, w = (n * scale for n in size)
    box = ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)
    image = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC, box=box)
    return np.array(image)


def table(fields: dict[str, ReceptiveField]) -> str:
    """The area figures of several networks, as lines of text."""
    width = max(map(len, fields))
    lines = [' ' * width + ''.join(f'  {share:>15.0%}' for share in SHARES)]
    for name, field in fields.items():
        squares = [field.square(share) for share in SHARES]
        cells = ''.join(f'  {s.side:>5} px  {s.area:>6.1%}' for s in squares)
        lines.append(f'{name:<{width}}{cells}')
    return '\n'.join(lines)


def draw_receptive_fields(fields: dict[str, ReceptiveField]) -> Figure:
    """The fields of several networks side by side, with squares and their area figures.

    Brightness is log10(1 + 9 c) of a contribution c, 0 to 1, which shows the weak ones too.
    """
    first = next(iter(fields.values())).contributions
    with rc_context(TEXT):
        figure, axes = new_figure(1, len(fields), first.shape[0] / first.shape[1], extra=0.75)
        for axis, (name, field) in zip(axes[0], fields.items(), strict=True):
            axis.imshow(np.log10(1 + 9 * field.contributions), cmap=MAP, norm=Normalize(0, 1))
            height, width = field.contributions.shape
            for share in DRAWN:
                _draw_square(axis, field, field.square(share))
            axis.set_xlim(-0.5, width - 0.5)
            axis.set_ylim(height - 0.5, -0.5)
            title(axis, name)
            squares = [field.square(share) for share in SHARES]
            said = '  '.join(f'{s.share:.0%}: {s.area:.1%}' for s in squares[:2])
            more = '  '.join(f'{s.share:.0%}: {s.area:.1%}' for s in squares[2:])
            axis.set_xlabel(f'area that holds\n{said}\n{more}')
        colour_bar(axes[0, -1], (0, 1), 'contribution to the centre', words=True)
    return figure


def _draw_square(axis: Axes, field: ReceptiveField, square: Square) -> None:
    row, column = field.centre
    height, width = field.contributions.shape
    radius = square.side / 2
    top, left = (max(at - radius, -0.5) for at in (row, column))
    bottom, right = min(row + radius, height - 0.5), min(column + radius, width - 0.5)
    axis.plot(
        [left, right, right, left, left],
        [top, top, bottom, bottom, top],
        **{**LINE, 'linewidth': 0.8},
    )
    words = axis.text(
        left + 0.01 * width,
        top,
        f'{square.share:.0%}',
        color='white',
        fontsize=6.5,
        va='bottom' if top > 0.06 * height else 'top',
    )
    words.set_path_effects([withStroke(linewidth=1, foreground='k')])
