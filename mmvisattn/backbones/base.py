"""The contract of every backbone.

A backbone takes pictures (N, in_channels, H, W) of any size and returns a tuple with one map
(N, C, H / stride, W / stride) for each of its `out_indices`, sizes rounded up. What it returns is
declared (`out_channels`, `out_strides`), and nothing is built that no output needs, so that every
parameter receives a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError, did_you_mean
from ..layers import recompute


class BaseBackbone(BaseModule):
    """What the backbones share: outputs, freezing and gradient checkpointing.

    A subclass calls `super().__init__`, builds stages 0 to `self.num_stages - 1` and implements
    `stage_modules` and `forward`.

    Args:
        stage_channels: Channels of each stage of the whole network.
        stage_strides: Stride of each stage.
        out_indices: The stages to return, ascending; negative ones count from the end.
        frozen_stages: Stages 0 to `frozen_stages` are fixed: no gradient, and BatchNorm and
            stochastic depth in evaluation mode. -1 freezes none.
        norm_eval: Whether BatchNorm layers use their running statistics in training too.
        with_cp: Whether blocks are computed again in the backward pass instead of keeping their
            activations. Same values, gradients and statistics; less memory, more time.
        init_cfg: MMEngine's initialisation, such as `dict(type='Pretrained', checkpoint=...)`.

    Attributes:
        out_channels: Channels of each returned map.
        out_strides: Stride of each returned map.
        num_stages: How many stages are built: the last one that is returned ends the network.

    Raises:
        UserError: `out_indices` or `frozen_stages` that the network does not have.
    """

    def __init__(
        self,
        *,
        stage_channels: Sequence[int],
        stage_strides: Sequence[int],
        out_indices: Sequence[int],
        frozen_stages: int,
        norm_eval: bool,
        with_cp: bool,
        init_cfg: dict | list | None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_indices = _checked_out_indices(out_indices, len(stage_channels))
        self.out_channels = [stage_channels[i] for i in self.out_indices]
        self.out_strides = [stage_strides[i] for i in self.out_indices]
        self.num_stages = self.out_indices[-1] + 1
        if not -1 <= frozen_stages < len(stage_channels):
            raise UserError(
                'frozen_stages names a stage that the network does not have',
                expected=f'-1 (none) to {len(stage_channels) - 1}',
                got=frozen_stages,
            )
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    def stage_modules(self, stage: int) -> list[nn.Module]:
        """The modules of one stage, with all its parameters."""
        raise NotImplementedError

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


def resolve_arch(network: str, arch: str | dict, archs: dict[str, dict]) -> dict:
    """The settings of an architecture, by its name in `archs` or given as a dict.

    Args:
        network: The network's name, for the message.
        arch: A name of the table, or a dict with a row's keys. A key whose value is a tuple in
            the table may be left out: the tuple is its default, the same in every row.
        archs: The table of the published architectures.

    Raises:
        UserError: An unknown name, a missing, unknown or unequally long entry.
    """
    if isinstance(arch, str):
        if arch.lower() not in archs:
            raise UserError(
                f'{network} has no architecture {arch!r}',
                expected=f'one of {", ".join(archs)}, or a dict',
                got=repr(arch),
                do=did_you_mean(arch, archs),
            )
        return archs[arch.lower()]
    row = next(iter(archs.values()))
    defaults = {key: value for key, value in row.items() if isinstance(value, tuple)}
    settings = {**defaults, **arch}
    stages = {key: len(settings.get(key, ())) for key in row}
    if set(settings) != set(row) or set(stages.values()) != {len(next(iter(row.values())))}:
        needed = [key for key in row if key not in defaults]
        raise UserError(
            f'{network}: this arch is not complete',
            expected=f'a dict of {", ".join(needed)}'
            + f' (and, if not the default, {", ".join(defaults)}), 4 numbers each',
            got=dict(arch),
        )
    return settings


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
