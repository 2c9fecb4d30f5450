"""VAN: Visual Attention Network (Guo et al., Computational Visual Media 2023, arXiv:2202.09741).

Written from the paper and after the authors' releases, whose layer and parameter names it keeps so
that their checkpoints load as they are (classification: github.com/Visual-Attention-Network/
VAN-Classification, Apache-2.0; segmentation: VAN-Segmentation, Apache-2.0).

It differs from them in form, not in value: maps stay (N, C, H, W) throughout, where the original
turns them to tokens and back around every block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from ..layers import LayerNorm2d
from ..registry import MODELS
from .base import BaseBackbone, resolve_arch


class LargeKernelAttention(nn.Module):
    """Section 3.2: a 21 x 21 convolution as three cheap ones, whose result gates the input.

    (N, C, H, W) to (N, C, H, W): depthwise 5 x 5, depthwise 7 x 7 with dilation 3, 1 x 1, product.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.conv_spatial = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv1(self.conv_spatial(self.conv0(x)))


class Attention(nn.Module):
    """The attention half of a block (Figure 3d), with a shortcut of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = LargeKernelAttention(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x))))


class DWConv(nn.Module):
    """A depthwise 3 x 3 convolution, in a module of its own as in the release."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


class Mlp(nn.Module):
    """The feed-forward half of a block: 1 x 1, depthwise 3 x 3, GELU, 1 x 1."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.dwconv = DWConv(hidden_channels)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    """Normalisation, attention, normalisation, MLP; both residuals scaled per channel."""

    def __init__(self, channels: int, mlp_ratio: float, drop_path: float, norm_cfg: dict) -> None:
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, channels)[1]
        self.attn = Attention(channels)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = build_norm_layer(norm_cfg, channels)[1]
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), 1e-2))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), 1e-2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))


class OverlapPatchEmbed(nn.Module):
    """A strided convolution whose patches overlap, and a normalisation; sizes round up."""

    def __init__(
        self, in_channels: int, channels: int, patch_size: int, stride: int, norm_cfg: dict
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, patch_size, stride, patch_size // 2)
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


@MODELS.register_module()
class VAN(BaseBackbone):
    """The four stages of VAN, without the classification head.

    Args:
        arch: 'b0' to 'b6' (Table 5 and 8), or a dict with `embed_dims` and `depths`, and
            `mlp_ratios` where they are not (8, 8, 4, 4).
        in_channels: Channels of the picture.
        out_indices: The stages to return: 0 to 3, at stride 4, 8, 16, 32.
        drop_path_rate: Stochastic depth of the last block; the earlier ones rise to it linearly.
        frozen_stages: Stages 0 to this one are fixed; -1 fixes none.
        norm_cfg: The normalisation inside stages (BatchNorm in the classification release,
            SyncBN in the segmentation release).
        norm_eval: Whether BatchNorm uses its running statistics in training too.
        out_norm_eps: Epsilon of the LayerNorm that ends each stage: 1e-6 in the classification
            release, 1e-5 in the segmentation release.
        with_cp: Whether to trade time for memory by gradient checkpointing.
        init_cfg: MMEngine's initialisation. `dict(type='Pretrained', checkpoint=...)` takes the
            authors' classification checkpoints as they are (their `head.*` is left over).

    Raises:
        UserError: An unknown architecture, output or frozen stage.

    Examples:
        >>> maps = VAN('b0')(torch.zeros(1, 3, 224, 224))
        >>> [tuple(m.shape) for m in maps]
        [(1, 32, 56, 56), (1, 64, 28, 28), (1, 160, 14, 14), (1, 256, 7, 7)]
    """

    ARCHS = {
        'b0': dict(embed_dims=[32, 64, 160, 256], depths=[3, 3, 5, 2], mlp_ratios=(8, 8, 4, 4)),
        'b1': dict(embed_dims=[64, 128, 320, 512], depths=[2, 2, 4, 2], mlp_ratios=(8, 8, 4, 4)),
        'b2': dict(embed_dims=[64, 128, 320, 512], depths=[3, 3, 12, 3], mlp_ratios=(8, 8, 4, 4)),
        'b3': dict(embed_dims=[64, 128, 320, 512], depths=[3, 5, 27, 3], mlp_ratios=(8, 8, 4, 4)),
        'b4': dict(embed_dims=[64, 128, 320, 512], depths=[3, 6, 40, 3], mlp_ratios=(8, 8, 4, 4)),
        'b5': dict(embed_dims=[96, 192, 480, 768], depths=[3, 3, 24, 3], mlp_ratios=(8, 8, 4, 4)),
        'b6': dict(embed_dims=[96, 192, 384, 768], depths=[6, 6, 90, 6], mlp_ratios=(8, 8, 4, 4)),
    }

    def __init__(
        self,
        arch: str | dict = 'b2',
        *,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        out_norm_eps: float = 1e-6,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        settings = resolve_arch('VAN', arch, self.ARCHS)
        embed_dims, depths = settings['embed_dims'], settings['depths']
        super().__init__(
            stage_channels=embed_dims,
            stage_strides=[4, 8, 16, 32],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        norm_cfg = norm_cfg or dict(type='BN')
        last = max(1, sum(depths) - 1)
        drop_path = (drop_path_rate * i / last for i in range(sum(depths)))

        for i in range(self.num_stages):
            patch_embed = OverlapPatchEmbed(
                in_channels=in_channels if i == 0 else embed_dims[i - 1],
                channels=embed_dims[i],
                patch_size=7 if i == 0 else 3,
                stride=4 if i == 0 else 2,
                norm_cfg=norm_cfg,
            )
            blocks = nn.ModuleList(
                Block(embed_dims[i], settings['mlp_ratios'][i], next(drop_path), norm_cfg)
                for _ in range(depths[i])
            )
            setattr(self, f'patch_embed{i + 1}', patch_embed)
            setattr(self, f'block{i + 1}', blocks)
            setattr(self, f'norm{i + 1}', LayerNorm2d(embed_dims[i], eps=out_norm_eps))
        self.apply(_init_convolution)
        self.train()

    def stage_modules(self, stage: int) -> list[nn.Module]:
        return [getattr(self, f'{name}{stage + 1}') for name in ('patch_embed', 'block', 'norm')]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map pictures (N, in_channels, H, W) to one map (N, C, H / s, W / s) per out index."""
        maps = []
        for stage in range(self.num_stages):
            patch_embed, blocks, norm = self.stage_modules(stage)
            x = patch_embed(x)
            for block in blocks:
                x = self.run_block(block, x)
            x = norm(x)  # the next stage reads the normalised map, as in the release
            if stage in self.out_indices:
                maps.append(x)
        return tuple(maps)


def _init_convolution(module: nn.Module) -> None:
    """Normal with variance 2 / fan-out, fan-out counted per group, as in the release."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / (fan_out // module.groups)))
        nn.init.zeros_(module.bias)
