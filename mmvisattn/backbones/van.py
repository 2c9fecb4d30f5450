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

from ..errors import UserError
from ..layers import DepthwiseConv2d, LayerNorm2d, PointwiseConv2d, init_convolution
from ..ops import large_kernel_attention
from ..registry import MODELS
from .base import BaseBackbone, drop_path_rates, one_of, resolve_arch


class LargeKernelAttention(nn.Module):
    """A K x K convolution as three cheap ones, whose result gates the input (Figure 3).

    (N, C, H, W) to (N, C, H, W): depthwise, depthwise with dilation, 1 x 1, product; for K = 21
    and dilation 3 the kernels are 5 x 5 and 7 x 7. The arguments are those of `VAN`'s arch.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 21,
        dilation: int = 3,
        convs: Sequence[str] = ('depthwise', 'dilated', 'pointwise'),
        gate: str = 'multiply',
    ) -> None:
        super().__init__()
        if isinstance(convs, str) or not convs:
            raise UserError(
                'VAN: convs is a list', expected="such as ('depthwise', 'pointwise')", got=convs
            )
        small, large = 2 * dilation - 1, math.ceil(kernel_size / dilation)  # the paper's rule
        build = dict(
            depthwise=lambda: DepthwiseConv2d(channels, small),
            dilated=lambda: DepthwiseConv2d(channels, large, dilation),
            pointwise=lambda: PointwiseConv2d(channels, channels),
            full=lambda: nn.Conv2d(channels, channels, kernel_size, padding='same'),
        )
        names = dict(depthwise='conv0', dilated='conv_spatial', pointwise='conv1', full='conv')
        self.names = [names[one_of('VAN', 'convolution', conv, build)] for conv in convs]
        for name, conv in zip(self.names, convs, strict=True):
            self.add_module(name, build[conv]())
        self.gate = one_of('VAN', 'gate', gate, ('multiply', 'add', 'none', 'sigmoid'))
        self.published = self.names == ['conv0', 'conv_spatial', 'conv1'] and gate == 'multiply'

    def gate_map(self, x: Tensor) -> Tensor:
        """What the convolutions make of the input, and gates it: (N, C, H, W), unbounded."""
        for name in self.names:
            x = getattr(self, name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        if self.published:
            convs = (self.conv0, self.conv_spatial, self.conv1)
            parameters = [parameter for conv in convs for parameter in (conv.weight, conv.bias)]
            return large_kernel_attention(x, *parameters, dilation=self.conv_spatial.dilation[0])
        attention = self.gate_map(x)
        if self.gate == 'none':
            return attention
        if self.gate == 'add':
            return x + attention
        return x * (attention.sigmoid() if self.gate == 'sigmoid' else attention)


class Attention(nn.Module):
    """The attention half of a block (Figure 3d), with a shortcut of its own."""

    def __init__(self, channels: int, lka_cfg: dict) -> None:
        super().__init__()
        self.proj_1 = PointwiseConv2d(channels, channels)
        self.activation = nn.GELU()
        self.spatial_gating_unit = LargeKernelAttention(channels, **lka_cfg)
        self.proj_2 = PointwiseConv2d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x))))


class DWConv(nn.Module):
    """A depthwise 3 x 3 convolution, in a module of its own as in the release."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = DepthwiseConv2d(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


class Mlp(nn.Module):
    """The feed-forward half of a block: 1 x 1, depthwise 3 x 3, GELU, 1 x 1."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.fc1 = PointwiseConv2d(channels, hidden_channels)
        self.dwconv = DWConv(hidden_channels)
        self.act = nn.GELU()
        self.fc2 = PointwiseConv2d(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    """Normalisation, attention, normalisation, MLP; both residuals scaled per channel."""

    def __init__(
        self, channels: int, mlp_ratio: float, drop_path: float, norm_cfg: dict, lka_cfg: dict
    ) -> None:
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, channels)[1]
        self.attn = Attention(channels, lka_cfg)
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
        arch: 'b0' to 'b6' (Table 5 and 8); or a dict with `embed_dims` and `depths`; or one with
            `base`, the name of a row to change. What a dict may change besides, for the ablations
            of Table 3 and 6: `mlp_ratios` (8, 8, 4, 4); `kernel_size` 21 and `dilation` 3 of the
            convolution that is decomposed; `convs`, some of ('depthwise', 'dilated', 'pointwise')
            or ('full',) for the K x K convolution itself; `gate`: 'multiply', 'add', 'sigmoid'
            (multiply by the sigmoid) or 'none' (the result replaces the input). And, for small
            pictures, `stem_stride` 4: 1 or 2 keeps maps of more pixels in all stages.
        in_channels: Channels of the picture.
        drop_path_rate: Stochastic depth of the last block; the earlier ones rise to it linearly.
        norm_cfg: The normalisation inside stages (BatchNorm in the classification release,
            SyncBN in the segmentation release).
        out_norm: Whether maps are returned after the LayerNorm that ends each stage, as in the
            releases, or before it. The next stage reads the normalised map in either case.
        out_norm_eps: Epsilon of that LayerNorm: 1e-6 in the classification release, 1e-5 in the
            segmentation release.
        contract: `out_indices`, `frozen_stages`, `norm_eval`, `with_cp`, `init_cfg`: see
            `BaseBackbone`.

    Raises:
        UserError: An unknown architecture, output or frozen stage.

    Examples:
        >>> maps = VAN('b0')(torch.zeros(1, 3, 224, 224))
        >>> [tuple(m.shape) for m in maps]
        [(1, 32, 56, 56), (1, 64, 28, 28), (1, 160, 14, 14), (1, 256, 7, 7)]
    """

    CHANNELS_LAST = True
    ARCHS = {
        'b0': dict(embed_dims=[32, 64, 160, 256], depths=[3, 3, 5, 2]),
        'b1': dict(embed_dims=[64, 128, 320, 512], depths=[2, 2, 4, 2]),
        'b2': dict(embed_dims=[64, 128, 320, 512], depths=[3, 3, 12, 3]),
        'b3': dict(embed_dims=[64, 128, 320, 512], depths=[3, 5, 27, 3]),
        'b4': dict(embed_dims=[64, 128, 320, 512], depths=[3, 6, 40, 3]),
        'b5': dict(embed_dims=[96, 192, 480, 768], depths=[3, 3, 24, 3]),
        'b6': dict(embed_dims=[96, 192, 384, 768], depths=[6, 6, 90, 6]),
    }
    DEFAULTS = dict(
        mlp_ratios=[8, 8, 4, 4],
        kernel_size=21,
        dilation=3,
        convs=('depthwise', 'dilated', 'pointwise'),
        gate='multiply',
        stem_stride=4,
    )

    def __init__(
        self,
        arch: str | dict = 'b2',
        *,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        norm_cfg: dict | None = None,
        out_norm: bool = True,
        out_norm_eps: float = 1e-6,
        **contract: object,
    ) -> None:
        settings = resolve_arch('VAN', arch, self.ARCHS, self.DEFAULTS)
        embed_dims, depths = settings['embed_dims'], settings['depths']
        stem_stride = one_of('VAN', 'stem_stride', settings['stem_stride'], (1, 2, 4))
        super().__init__(
            arch=arch,
            stage_channels=embed_dims,
            stage_strides=[stem_stride * 2**i for i in range(len(embed_dims))],
            **contract,
        )
        self.normalised_outputs = out_norm
        norm_cfg = norm_cfg or dict(type='BN')
        lka_cfg = {key: settings[key] for key in ('kernel_size', 'dilation', 'convs', 'gate')}
        drop_path = iter(drop_path_rates(drop_path_rate, sum(depths)))

        for i in range(self.num_stages):
            patch_embed = OverlapPatchEmbed(
                in_channels=in_channels if i == 0 else embed_dims[i - 1],
                channels=embed_dims[i],
                patch_size=7 if i == 0 else 3,
                stride=stem_stride if i == 0 else 2,
                norm_cfg=norm_cfg,
            )
            blocks = nn.ModuleList(
                Block(embed_dims[i], settings['mlp_ratios'][i], next(drop_path), norm_cfg, lka_cfg)
                for _ in range(depths[i])
            )
            setattr(self, f'patch_embed{i + 1}', patch_embed)
            setattr(self, f'block{i + 1}', blocks)
            if out_norm or i + 1 < self.num_stages:
                setattr(self, self.out_norm_name(i), LayerNorm2d(embed_dims[i], eps=out_norm_eps))
        self.apply(init_convolution)
        self.train()

    def stage_parts(
        self, stage: int
    ) -> tuple[Sequence[nn.Module], Sequence[nn.Module], nn.Module | None]:
        patch_embed, blocks = (
            getattr(self, f'{name}{stage + 1}') for name in ('patch_embed', 'block')
        )
        return [patch_embed], blocks, getattr(self, f'norm{stage + 1}', None)

    def stage_prefixes(self, stage: int) -> tuple[str, ...]:
        return (f'patch_embed{stage + 1}.', f'block{stage + 1}.')

    def out_norm_name(self, stage: int) -> str:
        return f'norm{stage + 1}'

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps, x = [], self.laid_out(x)
        for stage in range(self.num_stages):
            (patch_embed,), blocks, norm = self.stage_parts(stage)
            x = patch_embed(x)
            for block in blocks:
                x = self.run_block(block, x)
            raw = x
            x = x if norm is None else norm(x)  # the next stage reads the normalised map
            if stage in self.out_indices:
                maps.append(x if self.normalised_outputs else raw)
        return self.returned(maps)
