"""SASA: Stand-Alone Self-Attention in Vision Models (Ramachandran et al., NeurIPS 2019,
arXiv:1906.05909).

Written from the paper; its code and weights were never released. Layers carry torchvision's ResNet
names, so that a network without attention is torchvision's ResNet, weights and values alike.

Where the paper is silent an argument says what is done, and its default gives the published
parameters: `scale_logits` (none is written), `share_embeddings` between heads (each head has its
own part of the d_out numbers), `num_mixtures` of the stem (4). Sinusoids of an absolute position
are added to a layer's input. Neighbours outside the picture take no part in the softmax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.utils import to_2tuple
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..layers import PointwiseConv2d, init_convolution
from ..ops import local_attention
from ..registry import MODELS
from .base import BaseBackbone, drop_path_rates, one_of, resolve_arch

POSITIONS = ('relative', 'absolute', 'none')


class LocalAttention(nn.Module):
    """Every pixel attends to the k x k pixels around it (section 2.2).

    (N, C_in, H, W) to (N, C, H, W). The arguments are those of `SASAResNet`'s arch.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: int = 7,
        num_heads: int = 8,
        position: str = 'relative',
        content: bool = True,
        scale_logits: bool = False,
        share_embeddings: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or num_heads < 1 or channels % (2 * num_heads):
            raise UserError(
                'SASA: this local attention cannot be built',
                expected='an odd kernel_size, and channels that num_heads divides into even parts',
                got=f'kernel_size={kernel_size}, channels={channels}, num_heads={num_heads}',
            )
        if not content and position != 'relative':
            raise UserError(
                'SASA: content=False leaves the logits to the relative positions',
                expected="position='relative'",
                got=repr(position),
            )
        self.position = one_of('SASA', 'position', position, POSITIONS)
        head_channels = channels // num_heads
        self.query = PointwiseConv2d(in_channels, channels, bias=False)
        self.key = PointwiseConv2d(in_channels, channels, bias=False) if content else None
        self.value = PointwiseConv2d(in_channels, channels, bias=False)
        self.row_embedding = self.column_embedding = None
        if position == 'relative':
            shape = (1 if share_embeddings else num_heads, kernel_size, head_channels // 2)
            self.row_embedding = nn.Parameter(torch.randn(shape) * head_channels**-0.5)
            self.column_embedding = nn.Parameter(torch.randn(shape) * head_channels**-0.5)
        self.kernel_size, self.num_heads = kernel_size, num_heads
        self.scale = head_channels**-0.5 if scale_logits else 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.position == 'absolute':
            x = x + sinusoids(x)
        return local_attention(
            self.query(x),
            None if self.key is None else self.key(x),
            self.value(x),
            self.row_embedding,
            self.column_embedding,
            kernel_size=self.kernel_size,
            num_heads=self.num_heads,
            scale=self.scale,
        )

    def extra_repr(self) -> str:
        return f'kernel_size={self.kernel_size}, num_heads={self.num_heads}, {self.position}'


def stride_pool(stride: int) -> nn.Module:
    """What takes the stride after attention, which keeps a map's size (section 3.1)."""
    if stride == 1:
        return nn.Identity()
    return nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)


class LocalAttention2d(LocalAttention):
    """Local attention in the place of a 3 x 3 convolution of a neck or head (section 4.2).

    (N, C_in, H, W) to (N, C, H / stride, W / stride), sizes rounded up as the convolution's are.

    Args:
        in_channels: C_in.
        out_channels: C.
        stride: 1 or 2.
        bias: Whether a number for each channel is added to the output.
        window: The pixels around each that it attends to, in each direction.
        attention: The other arguments of `LocalAttention`.
    """

    # What mmcv's ConvModule reads of a convolution.
    dilation, groups, transposed, output_padding = (1, 1), 1, False, (0, 0)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        bias: bool = True,
        window: int = 7,
        **attention: object,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size=window, **attention)
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.pool = stride_pool(stride)

    @property
    def weight(self) -> nn.Parameter:
        """The projection to values: what the libraries' initialisers fill (section 4.2)."""
        return self.value.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(super().forward(x)).contiguous()  # for mmcv's RoIAlign, see base.py
        return x if self.bias is None else x + self.bias[:, None, None]


@MODELS.register_module('LocalAttention2d')
def attention_or_pointwise(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    bias: bool = True,
    padding_mode: str = 'zeros',
    **attention: object,
) -> nn.Module:
    """`conv_cfg=dict(type='mmvisattn.LocalAttention2d')`: attention for 3 x 3 convolutions.

    The arguments are `nn.Conv2d`'s, and by name `LocalAttention2d`'s. A 1 x 1 convolution is one.

    Raises:
        UserError: A convolution of another kind.
    """
    kernel_size, stride = to_2tuple(kernel_size), to_2tuple(stride)
    padding, dilation = to_2tuple(padding), to_2tuple(dilation)
    if kernel_size == (1, 1):
        return nn.Conv2d(
            in_channels, out_channels, 1, stride, padding, dilation, groups, bias, padding_mode
        )
    same = padding == (1, 1) == dilation and stride in ((1, 1), (2, 2))
    if kernel_size != (3, 3) or not same or groups != 1 or padding_mode != 'zeros':
        raise UserError(
            'SASA: local attention does not take the place of this convolution',
            expected='1 x 1; or 3 x 3 of stride 1 or 2, padding 1, dilation 1 and one group',
            got=f'kernel_size={kernel_size}, stride={stride}, padding={padding}, '
            f'dilation={dilation}, groups={groups}, padding_mode={padding_mode!r}',
        )
    return LocalAttention2d(in_channels, out_channels, stride[0], bias, **attention)


class Bottleneck(nn.Module):
    """A bottleneck of ResNet whose 3 x 3 convolution may be local attention.

    Attention keeps the map's size; a 2 x 2 average pool after it takes the stride.
    """

    def __init__(
        self, in_channels: int, width: int, stride: int, drop_path: float, attention: dict | None
    ) -> None:
        super().__init__()
        channels = 4 * width
        self.conv1 = PointwiseConv2d(in_channels, width, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        if attention is None:
            self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
            self.pool = nn.Identity()
        else:
            self.conv2 = LocalAttention(width, width, **attention)
            self.pool = stride_pool(stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = PointwiseConv2d(width, channels, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.downsample = None
        if stride == 2 or in_channels != channels:
            self.downsample = nn.Sequential(
                PointwiseConv2d(in_channels, channels, stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.pool(self.conv2(x))))
        x = self.bn3(self.conv3(x))
        return self.relu(self.drop_path(x) + shortcut)


class BlockAttention(nn.Module):
    """The attention of the stem (section 3.2 and appendix): within blocks of 4 x 4 pixels.

    (N, C_in, H, W) to (N, C, H, W). Values are 'spatially_aware', a mixture of projections by the
    pixel's place in its block, 'standalone', one projection, or 'convolution', a 4 x 4 one.
    """

    SIZE = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_heads: int = 4,
        values: str = 'spatially_aware',
        num_mixtures: int = 4,
        scale_logits: bool = False,
    ) -> None:
        super().__init__()
        choices = ('spatially_aware', 'standalone', 'convolution')
        self.values = one_of('SASA', 'stem_values', values, choices)
        if num_heads < 1 or channels % (2 * num_heads):
            raise UserError(
                'SASA: the stem cannot be cut into heads',
                expected=f'stem_heads that divide {channels} channels into even parts',
                got=num_heads,
            )
        self.num_heads, head_channels = num_heads, channels // num_heads
        self.scale = head_channels**-0.5 if scale_logits else 1.0
        self.query = PointwiseConv2d(in_channels, channels, bias=False)
        self.key = PointwiseConv2d(in_channels, channels, bias=False)
        offsets = (num_heads, 2 * self.SIZE - 1, head_channels // 2)
        self.row_embedding = nn.Parameter(torch.randn(offsets) * head_channels**-0.5)
        self.column_embedding = nn.Parameter(torch.randn(offsets) * head_channels**-0.5)
        if values == 'spatially_aware':
            self.value = nn.Parameter(torch.empty(num_mixtures, channels, in_channels))
            nn.init.kaiming_normal_(self.value.view(-1, in_channels), mode='fan_in')
            # emb_row(a), emb_col(b) and nu_m of the appendix: they meet only in these products
            self.row_mixture = nn.Parameter(torch.randn(self.SIZE, channels))
            self.column_mixture = nn.Parameter(torch.randn(self.SIZE, channels))
            self.mixture = nn.Parameter(torch.randn(num_mixtures, channels) * channels**-0.5)
        else:
            kernel_size = 4 if values == 'convolution' else 1
            self.value = nn.Conv2d(in_channels, channels, kernel_size, padding='same', bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.SIZE, 0, -height % self.SIZE))
        query, key, value = (self._heads(m) for m in (self.query(x), self.key(x), self._value(x)))
        bias = self._position_logits(query) + self._outside(x, height, width)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=self.scale)
        return self._picture(out, x.shape)[..., :height, :width]

    def _value(self, x: Tensor) -> Tensor:
        """The values (N, C, H, W); a mixture of projections is one projection for each place."""
        if self.values != 'spatially_aware':
            return self.value(x)
        place = self.row_mixture[:, None] + self.column_mixture  # (4, 4, C)
        share = (place @ self.mixture.t()).softmax(-1)  # (4, 4, mixtures)
        weight = torch.einsum('abm,moc->aboc', share, self.value)  # (4, 4, C, C_in)
        blocks = x.unflatten(3, (-1, self.SIZE)).unflatten(2, (-1, self.SIZE))
        return torch.einsum('ncyaxb,aboc->noyaxb', blocks, weight).flatten(4).flatten(2, 3)

    def _heads(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N * blocks, heads, 16, C / heads)."""
        x = x.unflatten(3, (-1, self.SIZE)).unflatten(2, (-1, self.SIZE))
        x = x.unflatten(1, (self.num_heads, -1))  # (N, heads, d, H / 4, 4, W / 4, 4)
        return x.permute(0, 3, 5, 1, 4, 6, 2).flatten(0, 2).flatten(2, 3)

    def _picture(self, x: Tensor, shape: torch.Size) -> Tensor:
        """The inverse of `_heads`, for a picture (N, _, H, W)."""
        size, (n, _, height, width) = self.SIZE, shape
        x = x.reshape(n, height // size, width // size, self.num_heads, size, size, -1)
        return x.permute(0, 3, 6, 1, 4, 2, 5).reshape(n, -1, height, width)

    def _position_logits(self, query: Tensor) -> Tensor:
        """q.r of every pixel with every pixel of its block: (N * blocks, heads, 16, 16)."""
        size = self.SIZE
        place = torch.arange(size, device=query.device)
        offset = place[None, :] - place[:, None] + size - 1  # from row a to row a': (4, 4)
        by_row, by_column = query.unflatten(2, (size, size)).chunk(2, dim=-1)
        rows = torch.einsum('nhabd,hacd->nhabc', by_row, self.row_embedding[:, offset])
        columns = torch.einsum('nhabd,hbcd->nhabc', by_column, self.column_embedding[:, offset])
        logits = rows[..., :, None] + columns[..., None, :]  # (.., a, b, a', b')
        return self.scale * logits.flatten(4).flatten(2, 3)

    def _outside(self, x: Tensor, height: int, width: int) -> Tensor:
        """-inf where a key was filled up beside the picture: (N * blocks, 1, 1, 16)."""
        rows, columns = (
            torch.arange(filled, device=x.device) >= length
            for filled, length in zip(x.shape[2:], (height, width), strict=True)
        )
        hidden = (rows[:, None] | columns).unflatten(1, (-1, self.SIZE))
        hidden = hidden.unflatten(0, (-1, self.SIZE)).transpose(1, 2).flatten(2).flatten(0, 1)
        hidden = hidden.repeat(x.shape[0], 1)[:, None, None]
        return x.new_zeros(()).expand(hidden.shape).masked_fill(hidden, -math.inf)


@MODELS.register_module()
class SASAResNet(BaseBackbone):
    """ResNet with local self-attention in place of its spatial convolutions.

    Args:
        arch: 'r26', 'r38', 'r50' (Table 1, convolution stem); or a dict with `depths`; or one with
            `base`, the name of a row to change. What a dict may change besides: `widths`
            [64, 128, 256, 512] of the bottlenecks; `layout` ['A', 'A', 'A', 'A'], attention or
            convolution ('C') in each stage (Table 3); `stem`, 'convolution' or 'attention', with
            `stem_values` (Table 7: 'spatially_aware', 'standalone', 'convolution'), `stem_heads` 4
            and `num_mixtures` 4; `kernel_size` 7 (Table 4: 3 to 11); `num_heads` 8; `position`
            (Table 5: 'relative', 'absolute', 'none'); `content`, whether there is the query-key
            term (Table 6); `scale_logits` by 1 / sqrt(d); `share_embeddings` between heads.
        in_channels: Channels of the picture.
        drop_path_rate: Stochastic depth of the last block; the earlier ones rise to it linearly.
        out_norm: Whether each returned map is normalised by a LayerNorm.
        contract: `out_indices`, `frozen_stages`, `norm_eval`, `with_cp`, `init_cfg`: see
            `BaseBackbone`.

    Raises:
        UserError: An unknown architecture, output or frozen stage.

    Examples:
        >>> maps = SASAResNet('r26')(torch.zeros(1, 3, 64, 64))
        >>> [tuple(m.shape) for m in maps]
        [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 2, 2)]
    """

    ARCHS = {
        'r26': dict(depths=[1, 2, 4, 1]),
        'r38': dict(depths=[2, 3, 5, 2]),
        'r50': dict(depths=[3, 4, 6, 3]),
    }
    DEFAULTS = dict(
        widths=[64, 128, 256, 512],
        layout=['A', 'A', 'A', 'A'],
        stem='convolution',
        stem_values='spatially_aware',
        stem_heads=4,
        num_mixtures=4,
        kernel_size=7,
        num_heads=8,
        position='relative',
        content=True,
        scale_logits=False,
        share_embeddings=False,
    )
    ATTENTION = (
        'kernel_size', 'num_heads', 'position', 'content', 'scale_logits', 'share_embeddings',
    )  # fmt: skip

    def __init__(
        self,
        arch: str | dict = 'r50',
        *,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_norm: bool = False,
        **contract: object,
    ) -> None:
        settings = resolve_arch('SASA', arch, self.ARCHS, self.DEFAULTS)
        widths, depths = settings['widths'], settings['depths']
        super().__init__(
            arch=arch,
            stage_channels=[4 * width for width in widths],
            stage_strides=[4 * 2**i for i in range(len(widths))],
            **contract,
        )
        attention = {key: settings[key] for key in self.ATTENTION}
        drop_path = iter(drop_path_rates(drop_path_rate, sum(depths)))

        channels = 64
        if one_of('SASA', 'stem', settings['stem'], ('convolution', 'attention')) == 'attention':
            self.conv1 = BlockAttention(
                in_channels,
                channels,
                num_heads=settings['stem_heads'],
                values=settings['stem_values'],
                num_mixtures=settings['num_mixtures'],
                scale_logits=settings['scale_logits'],
            )
            self.relu, self.maxpool = nn.Identity(), nn.MaxPool2d(4, ceil_mode=True)
        else:
            self.conv1 = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
            self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        for i in range(self.num_stages):
            kind = one_of('SASA', 'layout', settings['layout'][i], ('A', 'C'))
            blocks = nn.Sequential()
            for j in range(depths[i]):
                blocks.append(
                    Bottleneck(
                        in_channels=channels,
                        width=widths[i],
                        stride=2 if i > 0 and j == 0 else 1,
                        drop_path=next(drop_path),
                        attention=attention if kind == 'A' else None,
                    )
                )
                channels = 4 * widths[i]
            self.add_module(f'layer{i + 1}', blocks)
        if out_norm:
            self.build_out_norms(eps=1e-6)
        self.apply(init_convolution)
        self.train()

    def init_weights(self) -> None:
        """What MMEngine calls before a training.

        Blocks start as shortcuts, of which the paper says nothing: its logits are not scaled, and
        from blocks at full strength the first gradient is a thousand times that of ResNet-50.
        """
        if not self.is_init:
            self.zero_init_last()
        super().init_weights()

    def zero_init_last(self) -> None:
        """Let each block start as its shortcut alone, as timm's and mmpretrain's ResNets do."""
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def stage_parts(
        self, stage: int
    ) -> tuple[Sequence[nn.Module], Sequence[nn.Module], nn.Module | None]:
        stem = [self.conv1, self.bn1, self.relu, self.maxpool]
        return [] if stage else stem, getattr(self, f'layer{stage + 1}'), self.out_norm(stage)

    def stage_prefixes(self, stage: int) -> tuple[str, ...]:
        return (f'layer{stage + 1}.',) if stage else ('conv1.', 'bn1.', 'layer1.')


def sinusoids(x: Tensor) -> Tensor:
    """Positions of a map (N, C, H, W) as sines and cosines, half of C for each axis: (C, H, W)."""
    channels, height, width = x.shape[1:]
    half = channels // 2
    power = torch.arange(half, device=x.device) // 2 * 2 / half
    angles = [torch.arange(n, device=x.device)[:, None] / 10000**power for n in (height, width)]
    odd = torch.arange(half, device=x.device) % 2 == 1
    rows, columns = (torch.where(odd, a.cos(), a.sin()).t() for a in angles)  # (C / 2, H or W)
    rows = rows[:, :, None].expand(-1, -1, width)
    columns = columns[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns]).to(x.dtype)
