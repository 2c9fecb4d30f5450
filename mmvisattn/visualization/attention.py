"""What attends to what: LKA's gate maps, and the weights of attention at a point.

The operators never form their weights. They are asked for them: the output of attention is linear
in its values, out_i = sum_j w_ij v_j, so that the gradient of out_i by v_j is the weight w_ij, in
whatever way the operator computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.base import BaseBackbone
from ..backbones.coatnet import Attention as RelativeAttention
from ..backbones.sasa import LocalAttention
from ..backbones.van import LargeKernelAttention
from ..errors import UserError
from ..inference import Inferencer
from ..ops.backends import dispatch, recording
from .figure import TEXT, colour_bar, draw_over, new_figure, outline, title
from .layers import find_layer, inputs_of
from .view import View

WINDOWED = 'ShiftWindowMSA'  # Swin's, of mmdet


def attention_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The attention layers of a model by name, in the order of its modules."""
    return {name: module for name, module in model.named_modules() if _kind(module)}


def last_layers(model: nn.Module) -> list[str]:
    """The last attention layer of each stage of the backbone that has one.

    Raises:
        UserError: A network without attention.
    """
    backbone = model.backbone
    stages = getattr(backbone, 'stages', [])
    if isinstance(backbone, BaseBackbone):
        stages = [nn.ModuleList(backbone.stage_modules(i)) for i in range(backbone.num_stages)]
    names = {id(module): name for name, module in attention_layers(model).items()}
    inside = ([names[id(m)] for m in stage.modules() if id(m) in names] for stage in stages)
    last = [layers[-1] for layers in inside if layers]
    if not last:
        raise UserError(
            f'{type(backbone).__name__} has no attention',
            expected='VAN (gate maps), CoAtNet, SASA or Swin (attention at a point)',
            do='vis_cam.py, vis_features.py and vis_receptive_field.py draw every network',
        )
    return last


def gate_map(network: Inferencer, view: View, layer: str) -> Tensor:
    """What gates the values in a layer of large kernel attention: (C, h', w'), unbounded.

    Raises:
        UserError: The layer is no such attention.
    """
    module = _of_kind(network.model, layer, 'gate')
    with torch.no_grad():
        return module.gate_map(_input_of(network, view, module))[0]


def attention_at(
    network: Inferencer, view: View, layer: str, point: tuple[float, float]
) -> tuple[Tensor, tuple[int, int]]:
    """How much a layer attends, from a point of the picture, to each cell of its map.

    Args:
        network: The network.
        view: The picture.
        layer: Name of a layer of SASA, CoAtNet or Swin.
        point: (x, y), pixels of the picture.

    Returns:
        Weights (heads, h', w'), and the row and column of the cell over the point. The weights of
        a head sum to one: of CoAtNet with `relative_position` 'post_softmax', and of Swin where a
        window reaches over the edge of the map, they do not.

    Raises:
        UserError: The layer has no such weights, or the point lies outside.
    """
    module = _of_kind(network.model, layer, 'point')
    ask = _windowed
    if not _is_windowed(module):
        ask = _local if isinstance(module, LocalAttention) else _relative
    return ask(module, _input_of(network, view, module), lambda size: view.cell_at(point, size))


# Takes the size (h', w') of a map to the row and column of the query in it.
Cell = Callable[[tuple[int, int]], tuple[int, int]]


def _local(module: nn.Module, x: Tensor, cell_in: Cell) -> tuple[Tensor, tuple[int, int]]:
    size = tuple(x.shape[2:])
    row, column = cell_in(size)
    value = torch.zeros(1, module.num_heads, *size, requires_grad=True)
    weights = _gradient(module, x, value, lambda out: out[0, :, row, column])
    return weights, (row, column)


def _relative(module: nn.Module, x: Tensor, cell_in: Cell) -> tuple[Tensor, tuple[int, int]]:
    size = tuple(x.shape[2:])
    row, column = cell_in(size)
    value = torch.zeros(1, module.num_heads, size[0] * size[1], 1, requires_grad=True)
    query = row * size[1] + column
    weights = _gradient(module, x, value, lambda out: out[0, :, query, 0])
    return weights.view(module.num_heads, *size), (row, column)


def _gradient(
    module: nn.Module, x: Tensor, value: Tensor, at: Callable[[Tensor], Tensor]
) -> Tensor:
    """The gradient, by values, of what the module's operator gives for them at a query."""
    with torch.no_grad(), recording() as calls:
        module(x)
    (call,) = calls
    query, key, _, *others = call.args
    with torch.enable_grad():
        asked = dispatch(replace(call, args=(query, key, value, *others)))
        (weights,) = torch.autograd.grad(at(asked).sum(), value)
    return weights[0]


def _windowed(module: nn.Module, x: tuple, cell_in: Cell) -> tuple[Tensor, tuple[int, int]]:
    """Swin's: the weights are formed, of each window, and have to be put back in their places."""
    tokens, size = x
    size = tuple(size)
    row, column = cell_in(size)
    weights = []
    handle = module.w_msa.softmax.register_forward_hook(lambda *call: weights.append(call[-1]))
    with torch.no_grad():
        module(tokens, size)
    handle.remove()
    side, shift = module.window_size, module.shift_size
    places = torch.arange(size[0] * size[1]).view(1, *size, 1)
    places = F.pad(places, (0, 0, 0, -size[1] % side, 0, -size[0] % side), value=-1)
    places = places.roll((-shift, -shift), (1, 2))
    places = module.window_partition(places).flatten(1)  # (windows, side * side)
    ((window, query),) = (places == row * size[1] + column).nonzero().tolist()
    heads = weights[0][window, :, query]  # (heads, side * side)
    inside = places[window] >= 0
    out = torch.zeros(len(heads), size[0] * size[1])
    out[:, places[window][inside]] = heads[:, inside]
    return out.view(-1, *size), (row, column)


def draw_attention(
    network: Inferencer,
    view: View,
    point: tuple[float, float] | None = None,
    layers: Sequence[str] = (),
    parts: Sequence[int] = (),
) -> Figure:
    """Gate maps (VAN), or the weights of attention at a point, over the picture.

    Args:
        network: The network.
        view: The picture.
        point: (x, y) of the query, pixels of the picture; None takes the middle.
        layers: Names of attention layers; without them, the last of each stage.
        parts: Heads, or channels of a gate, a column for each and a row for each layer; without
            them a column for each layer, the mean of all.

    Raises:
        UserError: A network without attention, or a layer, head or point that there is not.
    """
    names = [find_layer(network.model, name)[0] for name in layers] or last_layers(network.model)
    gates = _kind(find_layer(network.model, names[0])[1]) == 'gate'
    height, width = view.picture.shape[:2]
    point = point or (width // 2, height // 2)
    rows = [names] if not parts else [[name] * len(parts) for name in names]
    with rc_context(TEXT):
        figure, axes = new_figure(
            len(rows), 1 + len(rows[0]), height / width, extra=0.45 * len(rows), bars=True
        )
        for row, row_names in zip(axes, rows, strict=True):
            row[0].imshow(view.picture)
            title(row[0], 'picture' if gates else 'query')
            for number, (axis, name) in enumerate(zip(row[1:], row_names, strict=True)):
                cell = None
                if gates:
                    maps = gate_map(network, view, name)
                else:
                    maps, cell = attention_at(network, view, name, point)
                part = parts[number] if parts else None
                last = number + 1 == len(row_names)
                label = '' if not last else 'LKA gate' if gates else 'attention weight'
                _draw(axis, view, maps, cell, part, label)
                title(axis, _title(name, maps, part, gates))
            if not gates:
                row[0].plot(*point, marker='+', markersize=9, markeredgewidth=1.6, color='red')
    return figure


def _draw(
    axis: Axes,
    view: View,
    maps: Tensor,
    cell: tuple[int, int] | None,
    part: int | None,
    label: str,
) -> None:
    if part is not None and not 0 <= part < len(maps):
        raise UserError(
            f'there is no head or channel {part}', expected=f'0 to {len(maps) - 1}', got=part
        )
    shown = (maps.mean(0) if part is None else maps[part]).numpy()
    limits = (float(shown.min()) if cell is None else 0.0, float(shown.max()))
    draw_over(axis, view.picture, view.on_picture(shown), limits)
    colour_bar(axis, limits, label)
    if cell is not None:
        outline(axis, view.cell_outline(cell, shown.shape))


def _title(name: str, maps: Tensor, part: int | None, gates: bool) -> str:
    unit = 'channel' if gates else 'head'
    which = f'mean of {len(maps)} {unit}s' if part is None else f'{unit} {part}'
    short = name.removeprefix('backbone.').removesuffix('.spatial_gating_unit')
    return f'{short.removesuffix(".attn")}\n{which}'


def _input_of(network: Inferencer, view: View, module: nn.Module) -> object:
    """What a layer gets when the network reads the picture; Swin's gets tokens and their size."""
    with torch.no_grad(), inputs_of([module]) as caught:
        network.model.extract_feat(view.inputs)
    if 0 not in caught:
        raise UserError('this layer is not run before the head', do='take one of the backbone')
    return caught[0] if _is_windowed(module) else caught[0][0]


def _of_kind(model: nn.Module, layer: str, kind: str) -> nn.Module:
    name, module = find_layer(model, layer)
    if _kind(module) != kind:
        raise UserError(
            f'{name} has no gate' if kind == 'gate' else f'{name} has no weights of attention',
            expected='one of '
            + ', '.join(n for n, m in attention_layers(model).items() if _kind(m) == kind),
            got=type(module).__name__,
        )
    return module


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, LargeKernelAttention):
        return 'gate'
    point = isinstance(module, (LocalAttention, RelativeAttention)) or _is_windowed(module)
    return 'point' if point else None


def _is_windowed(module: nn.Module) -> bool:
    return type(module).__name__ == WINDOWED
