"""CoAtNet: Marrying Convolution and Attention for All Data Sizes (Dai et al., NeurIPS 2021,
arXiv:2106.04803).

Written from the paper ('0' to '7'; its code and weights were never released) and after timm's
independent version (Apache-2.0), whose layer names it keeps, so that timm's pretrained weights
load. The names of timm ('coatnet_0_rw_224', ...) give timm's networks, which differ from the paper:
another number of blocks, activations, pooling, bias and order of squeeze and excitation, all of it
settings of the arch.

Unlike both, a network takes any size: relative biases are learnt for the tokens of `img_size` and
resized (bilinear, section A.1) for other maps, and attention never keeps a token x token matrix.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..layers import DepthwiseConv2d, LayerNorm2d, PointwiseConv2d, init_convolution
from ..ops import relative_attention
from ..ops.tensors import exporting, memory_format, records_steps, without_autocast
from ..registry import MODELS
from .base import BaseBackbone, drop_path_rates, one_of, resolve_arch

ACTIVATIONS = dict(gelu=nn.GELU, silu=nn.SiLU, relu=nn.ReLU)
NORMS = dict(batchnorm=nn.BatchNorm2d, layernorm=partial(LayerNorm2d, eps=1e-6))
POOLS = dict(  # sizes round up, and what lies outside the map does not count
    max2=partial(nn.MaxPool2d, 2, ceil_mode=True),
    max=partial(nn.MaxPool2d, 3, stride=2, padding=1),
    avg2=partial(nn.AvgPool2d, 2, ceil_mode=True, count_include_pad=False),
)

KEPT_SIZES = 8  # of maps whose resized tables a layer keeps; a detector meets any size


class Downsample(nn.Module):
    """Half the size by pooling, and other channels by a 1 x 1 convolution where they differ."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, pool: str, bias: bool = True
    ) -> None:
        super().__init__()
        self.pool = POOLS[pool]() if stride == 2 else nn.Identity()
        same = in_channels == channels
        self.expand = nn.Identity() if same else PointwiseConv2d(in_channels, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(self.pool(x))


class SqueezeExcitation(nn.Module):
    """Channels weighted by what the whole map holds."""

    def __init__(self, channels: int, hidden_channels: int, activation: str) -> None:
        super().__init__()
        self.fc1 = PointwiseConv2d(channels, hidden_channels)
        self.act = ACTIVATIONS[activation]()
        self.fc2 = PointwiseConv2d(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze and excitation, normalised first (section A.1).

    Down-sampling: Proj(Pool(x)) + Conv(DepthConv(Conv(Norm(x), stride=2))).
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, drop_path: float, cfg: dict
    ) -> None:
        super().__init__()
        act = ACTIVATIONS[cfg['activation']]
        norm = NORMS[cfg['conv_norm']]
        from_input = cfg['expand_from'] == 'input'
        hidden = 4 * (in_channels if from_input else channels)
        squeezed = int(cfg['se_ratio'] * (hidden if from_input else channels))
        stride_at = dict.fromkeys(('pool', '1x1', 'dw'), 1) | {cfg['stride_at']: stride}

        unchanged = stride == 1 and in_channels == channels
        self.shortcut = nn.Identity()
        if not unchanged:
            self.shortcut = Downsample(
                in_channels, channels, stride, cfg['pool'], bias=cfg['conv_bias']
            )
        self.pre_norm = norm(in_channels)
        self.pre_act = act() if cfg['pre_norm_act'] else nn.Identity()
        self.down = POOLS['avg2']() if stride_at['pool'] == 2 else nn.Identity()
        self.conv1_1x1 = PointwiseConv2d(in_channels, hidden, stride_at['1x1'], bias=False)
        self.norm1 = norm(hidden)
        self.conv2_kxk = (
            DepthwiseConv2d(hidden, 3, bias=False)
            if stride_at['dw'] == 1
            else nn.Conv2d(hidden, hidden, 3, 2, padding=1, groups=hidden, bias=False)
        )
        excitation = SqueezeExcitation(hidden, squeezed, cfg['se_activation'])
        early = cfg['se_early']
        self.se_early = excitation if early else nn.Identity()
        self.norm2 = norm(hidden)
        self.se = nn.Identity() if early else excitation
        self.conv3_1x1 = PointwiseConv2d(hidden, channels, bias=cfg['conv_bias'])
        self.act = act()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        x = self.down(self.pre_act(self.pre_norm(x)))
        x = self.act(self.norm1(self.conv1_1x1(x)))
        x = self.act(self.norm2(self.se_early(self.conv2_kxk(x))))
        return shortcut + self.drop_path(self.conv3_1x1(self.se(x)))


class RelativePosition(nn.Module):
    """The input-independent term of relative attention: one number per head and offset.

    `table(size)` gives it for a map of any size (H, W) as (heads, 2 H - 1, 2 W - 1). It is learnt
    for maps of `learnt_size` and resized bilinearly for others; without gradients the resized
    table is kept for each size until weights or mode change. (Written through `.data`, as an EMA
    does it, weights change unseen: MMEngine sets the mode after that.)
    """

    def __init__(self, num_heads: int, learnt_size: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads, self.learnt_size = num_heads, tuple(learnt_size)
        self._kept: dict[tuple, Tensor] = {}

    def learnt_table(self) -> Tensor:
        """The table (heads, 2 h - 1, 2 w - 1) for maps of the learnt size."""
        raise NotImplementedError

    def table(self, size: tuple[int, int]) -> Tensor:
        """The table for maps of `size`."""
        if self.training or torch.is_grad_enabled() or records_steps() or exporting():
            return self._resized(size)
        state = [(p.data_ptr(), p.is_inference() or p._version) for p in self.parameters()]
        if self._kept.get('state') != state:
            self._kept = {'state': state}
        if size not in self._kept:
            if len(self._kept) > KEPT_SIZES:
                self._kept = {'state': state}
            self._kept[size] = self._resized(size)
        return self._kept[size]

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_kept': {}}  # no part of a copy or a file

    def train(self, mode: bool = True) -> RelativePosition:
        self._kept = {}
        return super().train(mode)

    def _resized(self, size: tuple[int, int]) -> Tensor:
        with without_autocast(
            next(self.parameters()).device.type
        ):  # what is kept serves any precision
            table = self.learnt_table()
            # In a graph of any size resizing to the learnt one is the identity.
            if not exporting() and size == self.learnt_size:
                return table
            shape = [2 * n - 1 for n in size]
            return F.interpolate(table[None], shape, mode='bilinear', align_corners=False)[0]


class RelativePositionTable(RelativePosition):
    """Section 2.1: the numbers themselves are the parameters."""

    def __init__(self, num_heads: int, learnt_size: tuple[int, int]) -> None:
        super().__init__(num_heads, learnt_size)
        height, width = (2 * n - 1 for n in learnt_size)
        self.relative_position_bias_table = nn.Parameter(torch.empty(height * width, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def learnt_table(self) -> Tensor:
        height, width = (2 * n - 1 for n in self.learnt_size)
        return self.relative_position_bias_table.t().unflatten(1, (height, width))


class RelativePositionMlp(RelativePosition):
    """timm's "rmlp": the numbers are a small network's of the offset, on a logarithmic scale."""

    def __init__(self, num_heads: int, learnt_size: tuple[int, int], hidden: int) -> None:
        super().__init__(num_heads, learnt_size)
        fc1, fc2 = nn.Linear(2, hidden), nn.Linear(hidden, num_heads)
        layers = dict(fc1=fc1, act=nn.ReLU(), drop=nn.Dropout(0.125), fc2=fc2)
        self.mlp = nn.Sequential(OrderedDict(layers))

    def learnt_table(self) -> Tensor:
        weight = self.mlp.fc1.weight
        offsets = [torch.arange(1 - n, n, device=weight.device) for n in self.learnt_size]
        offsets = torch.stack(torch.meshgrid(*offsets, indexing='ij'), -1).to(weight.dtype)
        return self.mlp(offsets.sign() * offsets.abs().log1p()).permute(2, 0, 1)


class Attention(nn.Module):
    """Relative self-attention of a whole map (equation 3), (N, C_in, H, W) to (N, C, H, W)."""

    def __init__(self, in_channels: int, channels: int, map_size: tuple, cfg: dict) -> None:
        super().__init__()
        inner = channels if cfg['expand_first'] else in_channels
        if inner % cfg['head_dim']:
            raise UserError(
                'CoAtNet: attention cannot be cut into heads',
                expected='channels that head_dim divides',
                got=f'{inner} channels, head_dim={cfg["head_dim"]}',
            )
        self.num_heads = inner // cfg['head_dim']
        self.qkv = PointwiseConv2d(in_channels, 3 * inner)
        build = dict(
            table=RelativePositionTable,
            mlp=partial(RelativePositionMlp, hidden=cfg['relative_hidden']),
            none=lambda *args: None,
        )
        self.rel_pos = build[cfg['relative']](self.num_heads, map_size)
        self.relative_position = cfg['relative_position']
        self.proj = PointwiseConv2d(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[-2:])
        channels_last = memory_format(x) == torch.channels_last
        x = self.qkv(x).flatten(2).unflatten(1, (self.num_heads, -1))  # (N, heads, 3 d, H W)
        query, key, value = x.transpose(2, 3).chunk(3, dim=3)
        table = None if self.rel_pos is None else self.rel_pos.table(size)
        x = relative_attention(query, key, value, table, size=size, position=self.relative_position)
        # (N, heads, H W, d) to (N, C, H W), in memory as the map was
        x = (
            x.transpose(1, 2).flatten(2).transpose(1, 2)
            if channels_last
            else x.transpose(2, 3).flatten(1, 2)
        )
        return self.proj(x.unflatten(2, size))


class Mlp(nn.Module):
    """1 x 1, activation, 1 x 1, with four times the channels between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = PointwiseConv2d(channels, 4 * channels)
        self.act = nn.GELU()
        self.fc2 = PointwiseConv2d(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), init_value))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma[:, None, None]


class TransformerBlock(nn.Module):
    """Normalisation, attention, normalisation, MLP, both with a residual.

    Down-sampling (section A.1): Proj(Pool(x)) + Attention(Pool(Norm(x))).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        drop_path: float,
        cfg: dict,
        map_size: tuple[int, int],
    ) -> None:
        super().__init__()
        norm = NORMS[cfg['attention_norm']]
        self.shortcut, self.norm1 = nn.Identity(), norm(in_channels)
        if stride == 2 or in_channels != channels:
            pool = cfg['pool']
            bias = cfg['shortcut_bias']
            self.shortcut = Downsample(in_channels, channels, stride, pool, bias=bias)
            down = Downsample(in_channels, in_channels, stride, pool)
            self.norm1 = nn.Sequential(OrderedDict(norm=self.norm1, down=down))
        self.attn = Attention(in_channels, channels, map_size, cfg)
        self.norm2 = norm(channels)
        self.mlp = Mlp(channels)
        scale = cfg['layer_scale']
        self.ls1, self.ls2 = (
            LayerScale(channels, scale) if scale else nn.Identity() for _ in range(2)
        )
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.shortcut(x) + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class Stem(nn.Module):
    """Stage 0: two 3 x 3 convolutions, the first with stride 2."""

    def __init__(self, in_channels: int, widths: Sequence[int], cfg: dict) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, stride=2, padding=1, bias=False)
        self.norm1 = NORMS[cfg['conv_norm']](widths[0])
        self.act = ACTIVATIONS[cfg['activation']]()
        self.conv2 = nn.Conv2d(widths[0], widths[1], 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.act(self.norm1(self.conv1(x))))


class PatchStem(nn.Module):
    """ViT's stem for ViT_REL (section 2.2): patches of p x p pixels, filled up with zeros."""

    def __init__(self, in_channels: int, channels: int, patch_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, patch_size, stride=patch_size)
        self.patch_size = patch_size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return self.conv(F.pad(x, (0, -width % self.patch_size, 0, -height % self.patch_size)))


# Tables 3, 11 and 12.
PAPER = {
    '0': dict(embed_dims=[96, 192, 384, 768], depths=[2, 3, 5, 2], stem_widths=(64, 64)),
    '1': dict(embed_dims=[96, 192, 384, 768], depths=[2, 6, 14, 2], stem_widths=(64, 64)),
    '2': dict(embed_dims=[128, 256, 512, 1024], depths=[2, 6, 14, 2], stem_widths=(128, 128)),
    '3': dict(embed_dims=[192, 384, 768, 1536], depths=[2, 6, 14, 2], stem_widths=(192, 192)),
    '4': dict(embed_dims=[192, 384, 768, 1536], depths=[2, 12, 28, 2], stem_widths=(192, 192)),
    '5': dict(
        embed_dims=[256, 512, 1280, 2048], depths=[2, 12, 28, 2], stem_widths=(192, 192),
        head_dim=64,
    ),
    '6': dict(
        embed_dims=[192, 384, (768, 1536), 2048], depths=[2, 4, (8, 42), 2],
        stem_widths=(192, 192), head_dim=128, layout=['C', 'C', 'CT', 'T'],
    ),
    '7': dict(
        embed_dims=[256, 512, (1024, 2048), 3072], depths=[2, 4, (8, 42), 2],
        stem_widths=(192, 192), head_dim=128, layout=['C', 'C', 'CT', 'T'],
    ),
}  # fmt: skip

# timm's own networks and what they share; the other settings stand beside each name.
_RW = dict(
    activation='silu', expand_from='input', expand_first=False, conv_bias=False,
    pre_norm_act=True, se_activation='relu', pool='avg2', stride_at='pool',
)  # fmt: skip
_RW_MAX = dict(
    activation='silu', expand_from='input', expand_first=False, pool='avg2', stride_at='pool',
)  # fmt: skip
_EARLY = dict(se_early=True, shortcut_bias=False)
_DW = dict(stride_at='dw')
_LARGE = dict(stride_at='dw', se_activation='silu')
_MLP = dict(relative='mlp')
_NANO = dict(embed_dims=[64, 128, 256, 512], depths=[3, 4, 6, 3], stem_widths=(32, 64))
_RW_0 = dict(embed_dims=[96, 192, 384, 768], depths=[2, 3, 7, 2], stem_widths=(32, 64), **_RW)
_RW_1 = {**_RW_0, 'depths': [2, 6, 14, 2]}
_RW_2 = {**_RW_1, 'embed_dims': [128, 256, 512, 1024], 'stem_widths': (64, 128)}
_RW_3 = {**_RW_1, 'embed_dims': [192, 384, 768, 1536], 'stem_widths': (96, 192)}
_PAPER_LIKE = dict(pool='avg2', stride_at='dw', head_dim=32)
TIMM = {
    'coatnet_nano_rw_224': dict(**_NANO, **_RW_MAX),
    'coatnet_rmlp_nano_rw_224': dict(
        **_NANO, **{**_RW_MAX, 'stride_at': 'dw'}, **_MLP, relative_hidden=384
    ),
    'coatnet_0_rw_224': dict(**_RW_0, **_EARLY),
    'coatnet_bn_0_rw_224': {**_RW_0, **_EARLY, **_DW, 'attention_norm': 'batchnorm'},
    'coatnet_rmlp_0_rw_224': {**_RW_0, **_DW, **_MLP},
    'coatnet_1_rw_224': {**_RW_1, **_EARLY, **_DW},
    'coatnet_rmlp_1_rw_224': {
        **_RW_1, **_EARLY, **_MLP, 'pool': 'max', 'relative_hidden': 384,
    },
    'coatnet_rmlp_1_rw2_224': {**_RW_1, **_DW, **_MLP},
    'coatnet_2_rw_224': {**_RW_2, **_LARGE},
    'coatnet_rmlp_2_rw_224': {**_RW_2, **_LARGE, **_MLP, 'layer_scale': 1e-6},
    'coatnet_rmlp_2_rw_384': {
        **_RW_2, **_LARGE, **_MLP, 'layer_scale': 1e-6, 'img_size': 384,
    },
    'coatnet_3_rw_224': {**_RW_3, **_LARGE, 'layer_scale': 1e-6},
    'coatnet_rmlp_3_rw_224': {**_RW_3, **_LARGE, **_MLP, 'layer_scale': 1e-6},
}  # fmt: skip
# "trying to be like the paper", without weights
TIMM |= {f'coatnet_{i}_224': {**PAPER[str(i)], **_PAPER_LIKE} for i in range(6)}


@MODELS.register_module()
class CoAtNet(BaseBackbone):
    """The stages of CoAtNet, without the classification head.

    Args:
        arch: '0' to '7' (Tables 3, 11 and 12), a name of timm such as 'coatnet_0_rw_224'; or a
            dict with `embed_dims` and `depths`; or one with `base`, the name of a row to change.
            A stage of two kinds of block has a tuple for each, as in '6'. What a dict may change:

            - `layout` ['C', 'C', 'T', 'T']: convolution or transformer in each stage ('CT': first
              the one, then the other);
            - `stem` 'conv' with `stem_widths`, or 'patch' with `patch_size` (ViT_REL: one stage);
            - `img_size` 224, the size of the pictures that relative positions are learnt for;
            - `relative` 'table', 'mlp' (timm's "rmlp", `relative_hidden` wide) or 'none', and
              `relative_position`, 'pre_softmax' or 'post_softmax' (equation 3);
            - `head_dim` 32, `expand_first` (whether attention has the output's channels),
              `attention_norm`, `shortcut_bias`, `layer_scale` (None or its first value);
            - `stride_at` of an MBConv: '1x1', 'dw' (Table 9) or 'pool'; `pool` 'max2', 'max' or
              'avg2'; `expand_from` 'output' or 'input'; `conv_norm` (Table 8); `activation`,
              `pre_norm_act`, `conv_bias`, `se_ratio`, `se_activation`, `se_early`.
        in_channels: Channels of the picture.
        drop_path_rate: Stochastic depth of the last block; the earlier ones rise to it linearly.
        out_norm: Whether each returned map is normalised by a LayerNorm.
        contract: `out_indices`, `frozen_stages`, `norm_eval`, `with_cp`, `init_cfg`: see
            `BaseBackbone`.

    Raises:
        UserError: An unknown architecture, setting, output or frozen stage.

    Examples:
        >>> maps = CoAtNet('0')(torch.zeros(1, 3, 64, 96))
        >>> [tuple(m.shape) for m in maps]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    CHANNELS_LAST = True
    ARCHS = {**PAPER, **TIMM}
    DEFAULTS = dict(
        layout=['C', 'C', 'T', 'T'],
        stem='conv',
        stem_widths=(64, 64),
        patch_size=16,
        img_size=224,
        relative='table',
        relative_hidden=512,
        relative_position='pre_softmax',
        head_dim=32,
        expand_first=True,
        attention_norm='layernorm',
        shortcut_bias=True,
        layer_scale=None,
        stride_at='1x1',
        pool='max2',
        expand_from='output',
        conv_norm='batchnorm',
        activation='gelu',
        pre_norm_act=False,
        conv_bias=True,
        se_ratio=0.25,
        se_activation='silu',
        se_early=False,
    )
    CHOICES = dict(
        stem=('conv', 'patch'),
        relative=('table', 'mlp', 'none'),
        relative_position=('pre_softmax', 'post_softmax'),
        attention_norm=tuple(NORMS),
        conv_norm=tuple(NORMS),
        stride_at=('1x1', 'dw', 'pool'),
        pool=tuple(POOLS),
        expand_from=('output', 'input'),
        activation=tuple(ACTIVATIONS),
        se_activation=tuple(ACTIVATIONS),
    )

    def __init__(
        self,
        arch: str | dict = '0',
        *,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_norm: bool = False,
        **contract: object,
    ) -> None:
        arch = arch if isinstance(arch, dict) else str(arch).partition('.')[0]  # timm's name.tag
        cfg = resolve_arch('CoAtNet', arch, self.ARCHS, self.DEFAULTS)
        for name, choices in self.CHOICES.items():
            one_of('CoAtNet', name, cfg[name], choices)
        if isinstance(cfg['stem_widths'], int):
            cfg['stem_widths'] = (cfg['stem_widths'],) * 2
        groups = [_groups(*stage) for stage in zip(*(cfg[key] for key in STAGE_KEYS), strict=True)]
        patches = cfg['stem'] == 'patch'
        strides = [(cfg['patch_size'] if patches else 4) * 2**i for i in range(len(groups))]
        super().__init__(
            arch=arch,
            stage_channels=[stage[-1][1] for stage in groups],
            stage_strides=strides,
            **contract,
        )
        depth = sum(depth for stage in groups for _, _, depth in stage)
        drop_path = iter(drop_path_rates(drop_path_rate, depth))

        if patches:
            channels = groups[0][0][1]
            self.stem = PatchStem(in_channels, channels, cfg['patch_size'])
        else:
            channels = cfg['stem_widths'][1]
            self.stem = Stem(in_channels, cfg['stem_widths'], cfg)
        self.stages = nn.ModuleList()
        for i in range(self.num_stages):
            map_size = (-(-cfg['img_size'] // strides[i]),) * 2
            blocks = nn.Sequential()
            for kind, width, depth in groups[i]:
                for _ in range(depth):
                    stride = 1 if len(blocks) or (patches and i == 0) else 2
                    args = (channels, width, stride, next(drop_path), cfg)
                    block = MBConv(*args) if kind == 'C' else TransformerBlock(*args, map_size)
                    blocks.append(block)
                    channels = width
            self.stages.append(nn.ModuleDict(dict(blocks=blocks)))
        if out_norm:
            self.build_out_norms(eps=1e-6)
        self.apply(_init_weights)
        self.train()

    def stage_parts(
        self, stage: int
    ) -> tuple[Sequence[nn.Module], Sequence[nn.Module], nn.Module | None]:
        return [] if stage else [self.stem], self.stages[stage]['blocks'], self.out_norm(stage)

    def stage_prefixes(self, stage: int) -> tuple[str, ...]:
        return (f'stages.{stage}.',) if stage else ('stem.', 'stages.0.')


STAGE_KEYS = ('layout', 'embed_dims', 'depths')


def _groups(layout: str, widths: int | tuple, depths: int | tuple) -> list[tuple[str, int, int]]:
    """The groups of blocks of a stage: (kind, channels, number of blocks).

    Raises:
        UserError: An unknown kind of block, or unequally many entries.
    """
    widths, depths = ((v,) if isinstance(v, int) else tuple(v) for v in (widths, depths))
    if set(layout) - {'C', 'T'} or not len(layout) == len(widths) == len(depths):
        raise UserError(
            'CoAtNet: a stage is not described',
            expected="a layout of 'C' and 'T', with channels and a number of blocks for each",
            got=f'layout={layout!r}, embed_dims={widths}, depths={depths}',
        )
    return list(zip(layout, widths, depths, strict=True))


def _init_weights(module: nn.Module) -> None:
    """Transformers by Xavier, convolutions by their fan-out, as timm does."""
    if isinstance(module, TransformerBlock):
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    elif isinstance(module, (MBConv, Stem, PatchStem)):
        module.apply(init_convolution)
