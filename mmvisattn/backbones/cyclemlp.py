"""CycleMLP: A MLP-like Architecture for Dense Prediction (Chen et al., ICLR 2022,
arXiv:2107.10224).

Written from the paper and after the authors' release, whose layer and parameter names it keeps so
that their checkpoints load (github.com/ShoufaChen/CycleMLP, MIT). It differs from the release in
form, not in value: CycleFC is shifts and a 1 x 1 product instead of a deformable convolution, so
that it exports and autocasts, and its constant offsets are no buffer.

'b1' to 'b5' are the released networks. 't', 's' and 'b' ("following Swin configuration") were
reported but never released: they are reconstructed here from their parameters and FLOPs, and no
published checkpoint fits them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..layers import LayerNorm2d
from ..ops import cycle_fc, cycle_mixing, cycle_offsets
from ..ops.pointwise import pixel_linear
from ..ops.tensors import exporting
from ..registry import MODELS
from .base import BaseBackbone, drop_path_rates, length_of, one_of, resolve_arch


class CycleFC(nn.Module):
    """A fully connected layer over channels (Figure 1), each read from a neighbouring pixel.

    (N, C, H, W) to (N, C, H, W). `step_size` (S_H, S_W) is the area that the channels cycle
    through; `order` is the released code's or the paper's (see `mmvisattn.ops.cycle_fc`).
    """

    def __init__(self, channels: int, step_size: tuple[int, int], order: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels))
        self.step_size = tuple(step_size)
        self.order = one_of('CycleMLP', 'order', order, ('released', 'paper'))

    def forward(self, x: Tensor) -> Tensor:
        return cycle_fc(x, self.weight, self.bias, self.step_size, order=self.order)

    def extra_repr(self) -> str:
        return f'{self.weight.shape[0]}, step_size={self.step_size}, order={self.order!r}'


class PixelLinear(nn.Linear):
    """What `nn.Linear` is to pixels (N, H, W, C), and faster."""

    def forward(self, x: Tensor) -> Tensor:
        return pixel_linear(x, self.weight, self.bias)


class Mlp(nn.Module):
    """Two fully connected layers over the last axis of pixels, with GELU between them."""

    def __init__(self, channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.fc1 = PixelLinear(channels, hidden_channels)
        self.act = nn.GELU()
        self.fc2 = PixelLinear(hidden_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class CycleMixer(nn.Module):
    """The spatial half of a block: CycleFC along each axis and a channel FC, weighted.

    (N, H, W, C) to (N, H, W, C). Without `reweight` the three branches are added.
    """

    def __init__(
        self, channels: int, step_sizes: Sequence[tuple[int, int]], order: str, reweight: bool
    ) -> None:
        super().__init__()
        self.mlp_c = nn.Linear(channels, channels, bias=False)
        self.sfc_h = CycleFC(channels, step_sizes[0], order)
        self.sfc_w = CycleFC(channels, step_sizes[1], order)
        self.reweight = Mlp(channels, channels // 4, 3 * channels) if reweight else None
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        fcs = (None, None) if self.reweight is None else (self.reweight.fc1, self.reweight.fc2)
        out = cycle_mixing(
            x.permute(0, 3, 1, 2),  # (N, C, H, W), a view
            self.sfc_h.weight,
            self.sfc_h.bias,
            self.sfc_w.weight,
            self.sfc_w.bias,
            self.mlp_c.weight,
            self.proj.weight,
            self.proj.bias,
            *(getattr(fc, name, None) for fc in fcs for name in ('weight', 'bias')),
            step_sizes=(self.sfc_h.step_size, self.sfc_w.step_size),
            order=self.sfc_h.order,
        )
        return out.permute(0, 2, 3, 1)


class CycleBlock(nn.Module):
    """Normalisation, spatial mixing, normalisation, channel MLP, both with a residual."""

    def __init__(self, channels: int, mlp_ratio: float, drop_path: float, mixer_cfg: dict) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = CycleMixer(channels, **mixer_cfg)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # (N, H, W, C)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """A strided convolution: overlapping patches in the release, 4 x 4 patches as in Swin.

    The overlapping one pads by 2 as the release does. Patches of the other are filled up with
    zeros, so that sizes round up.
    """

    def __init__(self, in_channels: int, channels: int, overlapping: bool) -> None:
        super().__init__()
        kernel_size, self.overlapping = (7 if overlapping else 4), overlapping
        self.proj = nn.Conv2d(in_channels, channels, kernel_size, 4, padding=2 * overlapping)
        self.norm = nn.Identity() if overlapping else LayerNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if self.overlapping and exporting():
            x = F.pad(x, (0, 2, 0, 2))  # as many windows at any size; the others lie beyond
        elif self.overlapping:  # padding by 2 drops a last row of fewer than 3 pixels
            missing = [max(0, (-(-n // 4) - 1) * 4 + 7 - 4 - n) for n in (width, height)]
            x = F.pad(x, (0, missing[0], 0, missing[1]))
        else:
            x = F.pad(x, (0, -width % 4, 0, -height % 4))
        # From here on channels lie last, as the blocks read them.
        return self.norm(self.proj(x).contiguous(memory_format=torch.channels_last))


class Downsample(nn.Module):
    """The transition between released stages: a 3 x 3 convolution with stride 2."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class PatchMerging(nn.Module):
    """The transition of Swin: 2 x 2 pixels side by side, normalised and reduced."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * in_channels)
        self.reduction = PixelLinear(4 * in_channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        x = F.pixel_unshuffle(x, 2).permute(0, 2, 3, 1)  # (N, H / 2, W / 2, 4 C)
        return self.reduction(self.norm(x)).permute(0, 3, 1, 2)


SWIN = dict(reweight=False, overlapping=False)  # what 't', 's' and 'b' have of Swin


@MODELS.register_module()
class CycleMLP(BaseBackbone):
    """The four stages of CycleMLP, without the classification head.

    Args:
        arch: 'b1' to 'b5' (released), 't', 's', 'b' (reconstructed); or a dict with `embed_dims`
            and `depths`; or one with `base`, the name of a row to change. What a dict may change
            besides: `mlp_ratios` (4, 4, 4, 4); `step_sizes` of the two CycleFC, ((1, 3), (3, 1));
            `order` of the offsets, 'released' or 'paper' (released weights need the former, and
            steps along both axes at once the latter); `reweight`, whether the branches are
            weighted by their means; `overlapping`, whether patches overlap or are Swin's.
        in_channels: Channels of the picture.
        drop_path_rate: Stochastic depth of the last block; the earlier ones rise to it linearly.
        out_norm: Whether each returned map is normalised (LayerNorm), as in the release.
        contract: `out_indices`, `frozen_stages`, `norm_eval`, `with_cp`, `init_cfg`: see
            `BaseBackbone`.

    Raises:
        UserError: An unknown architecture, output or frozen stage.

    Examples:
        >>> maps = CycleMLP('b1')(torch.zeros(1, 3, 224, 224))
        >>> [tuple(m.shape) for m in maps]
        [(1, 64, 56, 56), (1, 128, 28, 28), (1, 320, 14, 14), (1, 512, 7, 7)]
    """

    CHANNELS_LAST = True
    ARCHS = {
        'b1': dict(embed_dims=[64, 128, 320, 512], depths=[2, 2, 4, 2]),
        'b2': dict(embed_dims=[64, 128, 320, 512], depths=[2, 3, 10, 3]),
        'b3': dict(embed_dims=[64, 128, 320, 512], depths=[3, 4, 18, 3], mlp_ratios=[8, 8, 4, 4]),
        'b4': dict(embed_dims=[64, 128, 320, 512], depths=[3, 8, 27, 3], mlp_ratios=[8, 8, 4, 4]),
        'b5': dict(embed_dims=[96, 192, 384, 768], depths=[3, 4, 24, 3]),
        't': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 6, 2], **SWIN),
        's': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 18, 2], **SWIN),
        'b': dict(embed_dims=[128, 256, 512, 1024], depths=[2, 2, 18, 2], **SWIN),
    }
    DEFAULTS = dict(
        mlp_ratios=[4, 4, 4, 4],
        step_sizes=((1, 3), (3, 1)),
        order='released',
        reweight=True,
        overlapping=True,
    )

    def __init__(
        self,
        arch: str | dict = 'b2',
        *,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_norm: bool = True,
        **contract: object,
    ) -> None:
        settings = resolve_arch('CycleMLP', arch, self.ARCHS, self.DEFAULTS)
        embed_dims, depths = settings['embed_dims'], settings['depths']
        super().__init__(
            arch=arch,
            stage_channels=embed_dims,
            stage_strides=[4 * 2**i for i in range(len(embed_dims))],
            **contract,
        )
        if [length_of(step) for step in settings['step_sizes']] != [2, 2]:
            raise UserError(
                'CycleMLP: step_sizes are those of the two CycleFC',
                expected='two pairs (S_H, S_W), such as ((1, 3), (3, 1))',
                got=settings['step_sizes'],
            )
        mixer_cfg = {key: settings[key] for key in ('step_sizes', 'order', 'reweight')}
        overlapping = settings['overlapping']
        drop_path = iter(drop_path_rates(drop_path_rate, sum(depths)))

        self.patch_embed = PatchEmbed(in_channels, embed_dims[0], overlapping)
        self.network = nn.ModuleList()  # stages at even places, transitions between them
        for i in range(self.num_stages):
            if i > 0:
                transition = Downsample if overlapping else PatchMerging
                self.network.append(transition(embed_dims[i - 1], embed_dims[i]))
            self.network.append(
                nn.Sequential(
                    *(
                        CycleBlock(
                            embed_dims[i], settings['mlp_ratios'][i], next(drop_path), mixer_cfg
                        )
                        for _ in range(depths[i])
                    )
                )
            )
        if out_norm:
            self.build_out_norms(eps=1e-5)
        self.apply(_init_weights)
        self.train()

    def stage_parts(
        self, stage: int
    ) -> tuple[Sequence[nn.Module], Sequence[nn.Module], nn.Module | None]:
        entry = self.network[2 * stage - 1] if stage else self.patch_embed
        return [entry], self.network[2 * stage], self.out_norm(stage)

    def constants(self) -> dict[str, Tensor]:
        """The offsets of each CycleFC as the release stores them, (1, 2 C, 1, 1) of (y, x)."""
        layers = ((n, m) for n, m in self.named_modules() if isinstance(m, CycleFC))
        return {
            f'{name}.offset': cycle_offsets(layer.weight.shape[1], layer.step_size, layer.order)
            .float()
            .reshape(1, -1, 1, 1)
            for name, layer in layers
        }

    def out_norm_name(self, stage: int) -> str:
        return f'norm{2 * stage}'  # after the stage's place in `network`

    def stage_prefixes(self, stage: int) -> tuple[str, ...]:
        entry = f'network.{2 * stage - 1}.' if stage else 'patch_embed.'
        return (entry, f'network.{2 * stage}.')


def _init_weights(module: nn.Module) -> None:
    """Truncated normal as in the release; its strided convolutions keep PyTorch's default."""
    if isinstance(module, (nn.Linear, CycleFC)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
