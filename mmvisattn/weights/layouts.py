"""The names that releases give to the tensors of a network, and ours.

Ours are the authors' for VAN and CycleMLP, and timm's for CoAtNet. A layout says how another
release differs from them, in a table {theirs: ours} that is read in both directions. Where each
was read:

- VAN official: github.com/Visual-Attention-Network/VAN-Classification, models/van.py
- VAN mmpretrain: mmpretrain/models/backbones/van.py
- VAN mmseg: mmsegmentation's projects/van/backbones/van.py, over its MSCAN
- VAN hf: transformers 4.49, models/deprecated/van/modeling_van.py
- CycleMLP official: github.com/ShoufaChen/CycleMLP, cycle_mlp.py
- CoAtNet timm: timm/models/maxxvit.py
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor

from ..errors import UserError, did_you_mean
from ..ops import cycle_offsets

# The classifier in our names, and all that a classification network has and a backbone has not.
CLASSIFIER = {'VAN': 'head.', 'CycleMLP': 'head.', 'CoAtNet': 'head.fc.', 'SASAResNet': 'fc.'}
HEADS = {
    'VAN': ('head.',),
    'CycleMLP': ('norm.', 'head.'),
    'CoAtNet': ('norm.', 'head.'),
    'SASAResNet': ('fc.',),
    '': ('head.', 'fc.', 'classifier.'),  # by custom, in networks that are not known
}


def _no_constants(_: dict[str, Tensor]) -> dict[str, Tensor]:
    return {}


@dataclass(frozen=True)
class Layout:
    """How a release names and stores the tensors of a network.

    In names, `{i}` and `{j}` stand for numbers, and `{i+1}` for one that counts from 1 where `{i}`
    counts from 0. A name that ends with a dot begins those of several tensors.

    Attributes:
        name: What it is called.
        network: Whose tensors they are.
        signature: A file has this layout if it has tensors of all these names.
        names: {theirs: ours}; the first that fits counts, and a name that none fits is the same.
        prefix: What stands before the names of the network where a model contains it.
        head: What stands there before those of the classifier.
        constants: Tensors of theirs, in their place among ours, that are no weights.
        wrapping: The key that its files hold everything under.
    """

    name: str
    network: str
    signature: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)
    prefix: str = ''
    head: str = 'head.fc.'  # OpenMMLab's, beside any backbone
    constants: Callable[[dict[str, Tensor]], dict[str, Tensor]] = _no_constants
    wrapping: str | None = None


def _released_offsets(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The release's `offset` buffers, (y, x) for each input channel of a CycleFC.

    Channels look along the width in `sfc_h`, whose step is (1, 3), along the height in `sfc_w`.
    """
    offsets = {}
    for name, weight in weights.items():
        if found := re.search(r'\.attn\.sfc_([hw])\.weight$', name):
            step_size = (1, 3) if found[1] == 'h' else (3, 1)
            steps = cycle_offsets(weight.shape[1], step_size, 'released').to(weight.dtype)
            offsets[name.removesuffix('weight') + 'offset'] = steps.reshape(1, -1, 1, 1)
    return offsets


def _unused_layernorm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`VanModel.layernorm`, which transformers builds and never calls, as it is built."""
    norm = weights.get('norm4.weight')
    if norm is None:
        return {}
    return {'layernorm.weight': torch.ones_like(norm), 'layernorm.bias': torch.zeros_like(norm)}


def _below(theirs: str, ours: str, names: dict[str, str]) -> dict[str, str]:
    """A table whose names all stand below these."""
    return {theirs + old: ours + new for old, new in names.items()}


VAN = Layout(
    name='official',
    network='VAN',
    signature=('block{i}.{j}.attn.spatial_gating_unit.conv_spatial.',),
    wrapping='state_dict',
)
VAN_MMSEG = Layout(
    name='mmseg',
    network='VAN',
    signature=(*VAN.signature, 'block{i}.{j}.mlp.dwconv.weight'),
    names=_below(
        'block{i}.{j}.mlp.dwconv.',
        'block{i}.{j}.mlp.dwconv.dwconv.',
        {'weight': 'weight', 'bias': 'bias'},
    ),
)
VAN_MMPRETRAIN = Layout(
    name='mmpretrain',
    network='VAN',
    signature=('blocks{i}.{j}.attn.spatial_gating_unit.DW_D_conv.',),
    names={
        'patch_embed{i}.projection.': 'patch_embed{i}.proj.',
        **_below('blocks{i}.{j}.', 'block{i}.{j}.', {
            'attn.spatial_gating_unit.DW_conv.': 'attn.spatial_gating_unit.conv0.',
            'attn.spatial_gating_unit.DW_D_conv.': 'attn.spatial_gating_unit.conv_spatial.',
            'mlp.dwconv.': 'mlp.dwconv.dwconv.',
            '': '',
        }),
    },
    prefix='backbone.',
    wrapping='state_dict',
)  # fmt: skip
VAN_HF = Layout(
    name='hf',
    network='VAN',
    signature=('encoder.stages.{i}.layers.{j}.attention.attention_layer.attention.point_wise.',),
    names=_below('encoder.stages.{i}.', '', {
        'embeddings.convolution.': 'patch_embed{i+1}.proj.',
        'embeddings.normalization.': 'patch_embed{i+1}.norm.',
        'normalization.': 'norm{i+1}.',
        **_below('layers.{j}.', 'block{i+1}.{j}.', {
            'pre_normomalization.': 'norm1.',  # sic
            'attention.pre_projection.conv.': 'attn.proj_1.',
            **_below('attention.attention_layer.attention.', 'attn.spatial_gating_unit.', {
                'depth_wise.': 'conv0.',
                'depth_wise_dilated.': 'conv_spatial.',
                'point_wise.': 'conv1.',
            }),
            'attention.post_projection.': 'attn.proj_2.',
            'attention_scaling.weight': 'layer_scale_1',
            'post_normalization.': 'norm2.',
            'mlp.in_dense.': 'mlp.fc1.',
            'mlp.depth_wise.': 'mlp.dwconv.dwconv.',
            'mlp.out_dense.': 'mlp.fc2.',
            'mlp_scaling.weight': 'layer_scale_2',
        }),
    }),
    prefix='van.',
    head='classifier.',
    constants=_unused_layernorm,
)  # fmt: skip
CYCLEMLP = Layout(
    name='official',
    network='CycleMLP',
    signature=('network.{i}.{j}.attn.sfc_h.',),
    constants=_released_offsets,
    wrapping='model',
)
SASA = Layout(
    name='mmvisattn',  # nobody has released any
    network='SASAResNet',
    signature=('layer{i}.{j}.conv2.query.',),
    wrapping='state_dict',
)
COATNET = Layout(
    name='timm',
    network='CoAtNet',
    signature=('stages.{i}.blocks.{j}.conv2_kxk.',),
)
# A layout with a longer signature stands before one whose signature it contains.
LAYOUTS = (VAN_MMSEG, VAN, VAN_MMPRETRAIN, VAN_HF, CYCLEMLP, COATNET, SASA)
PLAIN = Layout(name='plain', network='', signature=())


def _as_ours(layout: Layout, wrapping: str | None) -> Layout:
    return replace(layout, constants=_no_constants, wrapping=wrapping)


# What can be written. mmvisattn.timm registers VAN, CycleMLP and SASA under our names.
TARGETS: dict[str, dict[str, Layout]] = {
    'VAN': {
        'mmvisattn': _as_ours(VAN, 'state_dict'),
        'official': VAN,
        'timm': _as_ours(VAN, None),
        'mmpretrain': VAN_MMPRETRAIN,
        'hf': VAN_HF,
    },
    'CycleMLP': {
        'mmvisattn': _as_ours(CYCLEMLP, 'state_dict'),
        'official': CYCLEMLP,
        'timm': _as_ours(CYCLEMLP, None),
    },
    'CoAtNet': {'mmvisattn': _as_ours(COATNET, 'state_dict'), 'timm': COATNET},
    'SASAResNet': {'mmvisattn': SASA, 'timm': _as_ours(SASA, None)},
}


@dataclass(frozen=True)
class Converted:
    """The tensors of a file in our names.

    Attributes:
        state_dict: The network, with its classifier where the file has one.
        layout: The name of the layout the file has; 'plain' if it is none that is known.
        network: Whose tensors they are; '' if that is not known.
        prefix: Where in the file they stood.
        dropped: The keys of the rest: other parts of a model, and constants.
        constants: The constants among them, by our names.
    """

    state_dict: dict[str, Tensor]
    layout: str
    network: str
    prefix: str
    dropped: list[str]
    constants: dict[str, Tensor]

    def __str__(self) -> str:
        place = f", under '{self.prefix}'" if self.prefix else ''
        return f'layout: {" ".join(filter(None, (self.network, self.layout)))}{place}'


def convert(state_dict: dict[str, Tensor], prefix: str | None = None) -> Converted:
    """The network in a file, in our names.

    A key that no layout knows stays as it is, so that it shows when the result is matched.

    Args:
        state_dict: What the file holds.
        prefix: Where in it the network stands ('backbone.'); None finds out.

    Raises:
        UserError: Nothing stands there, there are several networks, or two names mean one tensor.
    """
    layout, prefix = _place(state_dict, prefix)
    parent = prefix[: prefix.rstrip('.').rfind('.') + 1]
    head = parent + layout.head if prefix and layout.network else None
    ours, dropped = {}, []
    for key, tensor in state_dict.items():
        if key.startswith(prefix):
            name = _renamed(key.removeprefix(prefix), layout.names)
        elif head and key.startswith(head):
            name = CLASSIFIER[layout.network] + key.removeprefix(head)
        else:
            dropped.append(key)
            continue
        if name in ours:
            raise UserError(f'the file holds two tensors for {name}', got=f'{key} and another')
        ours[name] = tensor
    constants = {}
    for name, constant in layout.constants(ours).items():
        if name in ours and torch.equal(ours[name].to(constant.dtype), constant):
            constants[name] = ours.pop(name)
            dropped.append(prefix + name)
    return Converted(ours, layout.name, layout.network, prefix, dropped, constants)


def convert_inside(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """A whole model (a segmentor, a detector), the networks in it in our names."""
    layout, prefixes = _recognise(state_dict)
    renamed = {}
    for key, tensor in state_dict.items():
        prefix = next((p for p in prefixes if p and key.startswith(p)), None)
        if prefix is not None:
            key = prefix + _renamed(key.removeprefix(prefix), layout.names)
        renamed[key] = tensor
    return renamed


def export(state_dict: dict[str, Tensor], to: str) -> dict[str, Tensor]:
    """A network in the names of another release, with the constants that its files hold.

    CycleMLP's offsets are those of the released networks, whose steps are 1 x 3 and 3 x 1.

    Args:
        state_dict: The network, in our names or those of any layout.
        to: A key of `TARGETS[network]`.

    Raises:
        UserError: A network or a layout that is not known.
    """
    converted = convert(state_dict)
    layout = target(converted.network, to)
    weights = {**converted.state_dict, **layout.constants(converted.state_dict)}
    inverse = {ours: theirs for theirs, ours in layout.names.items()}
    classifier = CLASSIFIER[layout.network]
    exported = {}
    for key, tensor in weights.items():
        if layout.prefix and key.startswith(classifier):
            exported[layout.head + key.removeprefix(classifier)] = tensor
        else:
            exported[layout.prefix + _renamed(key, inverse)] = tensor
    return exported


def target(network: str, to: str) -> Layout:
    """The layout in which a network can be written.

    Raises:
        UserError: There is none of this name.
    """
    if not network:
        raise UserError(
            'these are not the tensors of a network whose layouts are known',
            expected=' or '.join(TARGETS),
        )
    if to not in TARGETS[network]:
        raise UserError(
            f'{network} has no layout {to!r}',
            expected=', '.join(TARGETS[network]),
            do=did_you_mean(to, TARGETS[network]),
        )
    return TARGETS[network][to]


def _place(state_dict: dict[str, Tensor], prefix: str | None) -> tuple[Layout, str]:
    """The layout of a file, and the prefix under which the network stands in it."""
    if prefix:
        prefix = prefix.rstrip('.') + '.'
        inside = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        if not inside:
            raise UserError(
                f"no tensor stands under '{prefix}'",
                expected=f'one of {", ".join(sorted({k.partition(".")[0] for k in state_dict}))}',
            )
        layout, below = _place(inside, None)
        return layout, prefix + below
    layout, prefixes = _recognise(state_dict)
    if len(prefixes) > 1:
        raise UserError(
            f'the file holds {len(prefixes)} networks',
            expected='prefix= one of ' + ', '.join(prefixes),
        )
    return layout, prefixes[0]


def _recognise(state_dict: dict[str, Tensor]) -> tuple[Layout, list[str]]:
    """The layout of a file, and the prefixes under which its signature stands."""
    for layout in LAYOUTS:
        found = [
            {match[1] for key in state_dict if (match := _anywhere(name).match(key))}
            for name in layout.signature
        ]
        if prefixes := set.intersection(*found):
            return layout, sorted(prefixes)
    return PLAIN, ['backbone.' if any(k.startswith('backbone.') for k in state_dict) else '']


def _renamed(key: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if match := _pattern(old).match(key):
            numbers = match.groupdict()
            if 'i' in numbers:
                i = int(numbers['i']) - ('{i+1}' in old)
                new = new.replace('{i+1}', str(i + 1)).replace('{i}', str(i))
            return new.replace('{j}', numbers.get('j', '')) + key[match.end() :]
    return key


@cache
def _pattern(name: str) -> re.Pattern:
    return re.compile(_regex(name))


@cache
def _anywhere(name: str) -> re.Pattern:
    """Matches the name after any prefix, its first group."""
    return re.compile(rf'((?:.*\.)?){_regex(name)}')


def _regex(name: str) -> str:
    regex = re.escape(name)
    for token in ('{i+1}', '{i}', '{j}'):
        regex = regex.replace(re.escape(token), rf'(?P<{token[1]}>\d+)')
    return regex if name.endswith('.') else regex + '$'
