"""The contract of every backbone.

A backbone takes pictures (N, in_channels, H, W) of any size and returns a tuple with one map
(N, C, H / stride, W / stride) for each of its `out_indices`, sizes rounded up. What it returns is
declared (`out_channels`, `out_strides`), and nothing is built that no output needs, so that every
parameter receives a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError, did_you_mean
from ..layers import LayerNorm2d, recompute
from ..ops.tensors import exporting

# How the names begin of what classification networks have after their stages.
CLASSIFIERS = ('norm.', 'head.', 'fc.')


class BaseBackbone(BaseModule):
    """What the backbones share: outputs, freezing, depths of layers and gradient checkpointing.

    A subclass hands the arguments from `out_indices` on to `super().__init__`, builds stages 0 to
    `self.num_stages - 1`, calls `build_out_norms` where its outputs are normalised, implements
    `stage_parts` and `stage_prefixes`, and ends its `__init__` with `self.train()`, which freezes
    what is to be frozen.

    Args:
        arch: The architecture as it was asked for.
        stage_channels: Channels of each stage of the whole network.
        stage_strides: Stride of each stage.
        out_indices: The stages to return, ascending; negative ones count from the end. None
            returns all.
        frozen_stages: Stages 0 to `frozen_stages` are fixed: no gradient, and BatchNorm and
            stochastic depth in evaluation mode. -1 freezes none.
        norm_eval: Whether BatchNorm layers use their running statistics in training too.
        with_cp: Whether blocks are computed again in the backward pass instead of keeping their
            activations. Same values, gradients and statistics; less memory, more time.
        init_cfg: MMEngine's initialisation; `dict(type='mmvisattn.CheckedPretrained',
            checkpoint=...)` takes published weights as they are.

    Attributes:
        out_channels: Channels of each returned map.
        out_strides: Stride of each returned map.
        num_stages: How many stages are built: the last one that is returned ends the network.

    Raises:
        UserError: `out_indices` or `frozen_stages` that the network does not have.
    """

    CHANNELS_LAST = False  # whether this is how maps lie in memory inside, on a CPU: measured

    def __init__(
        self,
        *,
        arch: str | dict,
        stage_channels: Sequence[int],
        stage_strides: Sequence[int],
        out_indices: Sequence[int] | int | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch = arch
        out_indices = range(len(stage_channels)) if out_indices is None else out_indices
        self.out_indices = _checked_out_indices(out_indices, len(stage_channels))
        self.out_channels = [stage_channels[i] for i in self.out_indices]
        self.out_strides = [stage_strides[i] for i in self.out_indices]
        self.num_stages = self.out_indices[-1] + 1
        self.num_stages_of_arch = len(stage_channels)
        if not -1 <= frozen_stages < len(stage_channels):
            raise UserError(
                'frozen_stages names a stage that the network does not have',
                expected=f'-1 (none) to {len(stage_channels) - 1}',
                got=frozen_stages,
            )
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.out_norm_names: dict[int, str] = {}

    def stage_parts(
        self, stage: int
    ) -> tuple[Sequence[nn.Module], Sequence[nn.Module], nn.Module | None]:
        """A stage in the order that a map passes it, with all its parameters.

        Returns:
            What changes the map's size before the blocks, the blocks, and the normalisation of
            the output or None.
        """
        raise NotImplementedError

    def stage_prefixes(self, stage: int) -> tuple[str, ...]:
        """What the names of a stage's parameters begin with, whether it is built or not."""
        raise NotImplementedError

    def stage_modules(self, stage: int) -> list[nn.Module]:
        """The modules of one stage, with all its parameters."""
        entry, blocks, norm = self.stage_parts(stage)
        return [*entry, *blocks, *([norm] if norm is not None else [])]

    def out_norm_name(self, stage: int) -> str:
        """What the normalisation of a stage's output is called."""
        return f'norm{stage}'

    def build_out_norms(self, eps: float) -> None:
        """Add a LayerNorm for each returned map."""
        for stage, channels in zip(self.out_indices, self.out_channels, strict=True):
            self.out_norm_names[stage] = self.out_norm_name(stage)
            self.add_module(self.out_norm_names[stage], LayerNorm2d(channels, eps=eps))

    def out_norm(self, stage: int) -> nn.Module | None:
        """The normalisation of a stage's output, if there is one."""
        return getattr(self, self.out_norm_names[stage]) if stage in self.out_norm_names else None

    @property
    def new_in_dense(self) -> tuple[str, ...]:
        """Prefixes of parameters that a classification checkpoint does not hold."""
        return tuple(f'{name}.' for name in self.out_norm_names.values())

    @property
    def unbuilt(self) -> tuple[str, ...]:
        """Prefixes of parameters that a checkpoint of the architecture may hold for nothing.

        They belong to stages after the last output, normalise outputs that are not returned, or
        classify: segmentors have been published with the head of their backbone still in it.
        """
        stages = range(self.num_stages_of_arch)
        late = (p for stage in stages[self.num_stages :] for p in self.stage_prefixes(stage))
        others = (stage for stage in stages if stage not in self.out_indices)
        norms = (f'{self.out_norm_name(stage)}.' for stage in others)
        return (*late, *norms, *CLASSIFIERS)

    @property
    def unbuilt_out_norms(self) -> tuple[str, ...]:
        """Prefixes of the normalisations of returned outputs, in a network without them."""
        returned = (self.out_norm_name(stage) for stage in self.out_indices)
        return tuple(f'{name}.' for name in returned if not hasattr(self, name))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map pictures (N, in_channels, H, W) to one map (N, C, H / s, W / s) per out index."""
        maps, x = [], self.laid_out(x)
        for stage in range(self.num_stages):
            entry, blocks, norm = self.stage_parts(stage)
            for module in entry:
                x = module(x)
            for block in blocks:
                x = self.run_block(block, x)
            if stage in self.out_indices:
                maps.append(x if norm is None else norm(x))
        return self.returned(maps)

    def laid_out(self, x: Tensor) -> Tensor:
        """A picture as it lies in memory inside the network."""
        if self.CHANNELS_LAST and x.device.type == 'cpu' and not exporting():
            return x.contiguous(memory_format=torch.channels_last)
        return x

    @staticmethod
    def returned(maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The maps as they are handed out: contiguous in memory.

        Inside a network channels may come last, which is faster; but a neck hands that on, and
        mmcv's RoIAlign reads such a map as if it were contiguous, without an error.
        """
        return tuple(x.contiguous() for x in maps)

    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """`block(x)`, with gradient checkpointing if `with_cp` asks for it."""
        return recompute(block, x) if self.with_cp and self.training else block(x)

    def train(self, mode: bool = True) -> BaseBackbone:
        """Set the training mode; what is frozen stays frozen."""
        super().train(mode)
        for stage in range(min(self.frozen_stages + 1, self.num_stages)):
            for module in self.stage_modules(stage):
                module.eval().requires_grad_(False)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The depth of a parameter, for learning rates that decay with it.

        The stem has depth 0, the blocks follow from 1 on; what brings a map to a stage counts to
        the stage's first block, an output's normalisation to its last. Whatever is not the
        backbone's (a head) comes last.

        Args:
            param_name: The parameter's name in the whole model.
            prefix: What stands before the backbone's own names, such as 'backbone.'.

        Returns:
            The depth, and the number of depths there are.
        """
        num_layers = 2 + sum(len(self.stage_parts(i)[1]) for i in range(self.num_stages))
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        depth = self._layer_depths.get(param_name[len(prefix) :], num_layers - 1)
        return depth, num_layers

    @cached_property
    def _layer_depths(self) -> dict[str, int]:
        depth_of = {}
        depth = 0
        for stage in range(self.num_stages):
            entry, blocks, norm = self.stage_parts(stage)
            first, last = depth + 1, depth + len(blocks)
            parts = [*((module, first if stage else 0) for module in entry)]
            parts += zip(blocks, range(first, last + 1), strict=True)
            parts += [(norm, last)] if norm is not None else []
            for module, number in parts:
                depth_of.update((id(parameter), number) for parameter in module.parameters())
            depth = last
        named = self.named_parameters()
        return {name: depth_of[id(p)] for name, p in named if id(p) in depth_of}


def resolve_arch(
    network: str, arch: str | dict, archs: dict[str, dict], defaults: dict | None = None
) -> dict:
    """The settings of an architecture: a row of the table, a changed row, or one of its own.

    Args:
        network: The network's name, for the message.
        arch: A name of the table; or a dict with a row's keys and, where they differ, those of
            `defaults`. `dict(base='b0', ...)` changes some keys of a row of the table.
        archs: The table of the published architectures, whose keys must all be given.
        defaults: What a row may leave out.

    Returns:
        All the settings. Those that are lists in the table have one entry for each stage.

    Raises:
        UserError: An unknown name, a missing, unknown or unequally long entry.
    """
    defaults = defaults or {}
    own = dict(arch) if isinstance(arch, dict) else dict(base=str(arch))  # arch=1 on a command line
    base = own.pop('base', None)
    if base is not None and str(base).lower() not in archs:
        raise UserError(
            f'{network} has no architecture {base!r}',
            expected=f'one of {", ".join(archs)}, or a dict',
            got=repr(base),
            do=did_you_mean(str(base), archs),
        )
    settings = {**defaults, **(archs[str(base).lower()] if base is not None else {}), **own}
    needed = {key: value for row in archs.values() for key, value in row.items()}
    needed = {key: value for key, value in needed.items() if key not in defaults}
    unknown = [key for key in settings if key not in needed and key not in defaults]
    if unknown:
        known = [*needed, *defaults]
        raise UserError(
            f'{network}: an architecture has no {unknown[0]!r}',
            expected=f'some of base, {", ".join(known)}',
            got=dict(own),
            do=did_you_mean(unknown[0], known),
        )
    per_stage = [key for key, value in {**needed, **defaults}.items() if isinstance(value, list)]
    lengths = {length_of(settings.get(key)) for key in per_stage}
    if not set(needed) <= set(settings) or len(lengths) != 1 or None in lengths:
        raise UserError(
            f'{network}: this arch is not complete',
            expected=f'a dict of {", ".join(needed)}, or of base and what differs from it; '
            f'{", ".join(per_stage)} with equally many entries, one for each stage',
            got=dict(own),
        )
    return settings


def one_of(network: str, name: str, value: object, choices: Sequence) -> object:
    """`value`, if it is one of the choices of a setting.

    Raises:
        UserError: It is not.
    """
    if value not in choices:
        expected = ', '.join(repr(choice) for choice in choices)
        raise UserError(f'{network}: no such {name}', expected=expected, got=repr(value))
    return value


def drop_path_rates(rate: float, num_blocks: int) -> list[float]:
    """Stochastic depth of each block: from 0 in the first to `rate` in the last, linearly."""
    return [rate * i / max(1, num_blocks - 1) for i in range(num_blocks)]


def length_of(value: object) -> int | None:
    """The length of a list or tuple; None for anything else."""
    return len(value) if isinstance(value, (list, tuple)) else None


def _checked_out_indices(out_indices: Sequence[int], num_stages: int) -> tuple[int, ...]:
    wanted = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    indices = tuple(i + num_stages if i < 0 else i for i in wanted)
    ascending = all(a < b for a, b in zip(indices, indices[1:], strict=False))
    if not indices or not ascending or indices[0] < 0 or indices[-1] >= num_stages:
        raise UserError(
            'out_indices must name stages of the network, each once and in order',
            expected=f'some of 0 to {num_stages - 1}, ascending',
            got=wanted,
        )
    return indices
