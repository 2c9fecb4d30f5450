"""The layers of a network: found by name, and what they return as maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from ..backbones.base import BaseBackbone
from ..errors import UserError, did_you_mean
from .view import strides_of

# Where the libraries' backbones keep the end of stage n, from 0 on.
STAGE_ENDS = {'ResNet': 'layer{next}', 'SwinTransformer': 'norm{n}', 'ConvNeXt': 'stages.{n}'}
SHOWN = 12


def stage_ends(model: nn.Module) -> list[str]:
    """The names of the last module of each stage of the backbone.

    Raises:
        UserError: A backbone whose stages are not known.
    """
    backbone = model.backbone
    names = {id(module): name for name, module in model.named_modules()}
    if isinstance(backbone, BaseBackbone):
        ends = (backbone.stage_modules(stage)[-1] for stage in range(backbone.num_stages))
        return [names[id(end)] for end in ends]
    known = [cls.__name__ for cls in type(backbone).__mro__ if cls.__name__ in STAGE_ENDS]
    inside = dict(backbone.named_modules())
    pattern = STAGE_ENDS[known[0]] if known else ''
    found = (pattern.format(n=n, next=n + 1) for n in range(len(inside)))
    ends = [f'backbone.{name}' for name in found if name and name in inside]
    if not ends:
        raise UserError(
            f'the stages of {type(backbone).__name__} are not known',
            do='name a layer (--layers): ' + ', '.join(_some(list(inside))),
        )
    return ends


def find_layer(model: nn.Module, name: str) -> tuple[str, nn.Module]:
    """A layer by its name in the model or in its backbone, or 'stage1' ... for the end of a stage.

    Returns:
        The full name, and the layer.

    Raises:
        UserError: There is no such layer; the names that come near are given.
    """
    modules = dict(model.named_modules())
    if name.startswith('stage') and name[len('stage') :].isdecimal():
        ends = stage_ends(model)
        number = int(name[len('stage') :])
        if not 1 <= number <= len(ends):
            raise UserError(
                f'the backbone has no {name}', expected=f'stage1 to stage{len(ends)}', got=name
            )
        name = ends[number - 1]
    for full in (name, f'backbone.{name}'):
        if full and full in modules:
            return full, modules[full]
    raise UserError(
        f'the network has no layer {name!r}',
        expected='stage1, stage2, ... or one of ' + ', '.join(_below(list(modules), name)),
        do=did_you_mean(name, [n.removeprefix('backbone.') for n in modules if n] + list(modules)),
    )


@contextmanager
def outputs_of(layers: Sequence[nn.Module]) -> Iterator[dict[int, object]]:
    """Collect what layers return meanwhile, each in its last run: {place in layers: output}."""
    caught: dict[int, object] = {}
    handles = [
        layer.register_forward_hook(lambda *call, i=i: caught.__setitem__(i, call[-1]))
        for i, layer in enumerate(layers)
    ]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def inputs_of(layers: Sequence[nn.Module]) -> Iterator[dict[int, tuple]]:
    """Collect the arguments that layers get meanwhile: {place in layers: arguments}."""
    caught: dict[int, tuple] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, args, i=i: caught.__setitem__(i, args))
        for i, layer in enumerate(layers)
    ]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def as_map(output: object, size: tuple[int, int]) -> Tensor:
    """What a layer returned, as a map (N, C, h', w'); tokens (N, h' w', C) are put in place.

    Args:
        output: A tensor, or a tuple that begins with one.
        size: (h, w) of the network's input.

    Raises:
        UserError: It is neither a map nor tokens of a map.
    """
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    if isinstance(first, Tensor) and first.dim() == 4:
        return first
    if isinstance(first, Tensor) and first.dim() == 3:
        stride = 1
        while stride <= max(size):
            height, width = (-(-n // stride) for n in size)
            if height * width == first.shape[1]:
                return first.transpose(1, 2).unflatten(2, (height, width))
            stride *= 2
    raise UserError(
        'this layer returns no map',
        expected='(N, C, h, w), or tokens (N, h * w, C)',
        got=tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__,
        do='take the end of a stage: stage1, stage2, ...',
    )


def stride_text(map_size: tuple[int, int], size: tuple[int, int]) -> str:
    """How much smaller a map is than the input, in words."""
    return f'1/{strides_of(map_size, size)[0]:g}'


def _below(names: list[str], name: str) -> list[str]:
    """The names that exist where a wrong one leaves the path of right ones."""
    parent = name if name.startswith('backbone') else f'backbone.{name}'
    while '.' in parent:
        parent = parent.rpartition('.')[0]
        depth = parent.count('.') + 1
        inside = [n for n in names if n.startswith(f'{parent}.') and n.count('.') == depth]
        if inside:
            return _some(inside)
    return _some([n for n in names if n and '.' not in n])


def _some(names: list[str]) -> list[str]:
    names = [name for name in names if name]
    return names if len(names) <= SHOWN else [*names[:SHOWN], '...']
