"""What folds into what in each kind of module; by hand, for the order of children proves nothing.

A function takes a module and a `Folder`, folds inside the module, and may return another in its
place.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from ..backbones import coatnet, sasa, van
from .folding import Folder, scale_and_shift, scale_input, scale_output


def fold_conv_module(module: ConvModule, folder: Folder) -> None:
    """mmcv's convolution, normalisation and activation, in the order that it was asked for."""
    if not module.with_norm or module.efficient_conv_bn_eval_forward is not None:
        return
    order = list(pairwise(module.order))
    if ('conv', 'norm') in order:
        folder.after(module, 'conv', module.norm_name)
    elif ('norm', 'conv') in order and not module.with_explicit_padding:
        folder.before(module, module.norm_name, module.conv)


def fold_sequence(layers: nn.Sequential, folder: Folder) -> None:
    """Layers that follow one another."""
    for conv, norm in pairwise(layers._modules):
        folder.after(layers, conv, norm)


def conv_then_norm(conv: str, norm: str) -> Callable[[nn.Module, Folder], None]:
    """For modules in which one convolution is normalised, and nothing reads it before."""
    return lambda module, folder: folder.after(module, conv, norm)


class FoldedVANBlock(nn.Module):
    """A block of VAN whose normalisations and scales are part of its 1 x 1 convolutions.

    With norm1(x) = s x + t the attention half is x + l (s x + t + proj_2(...)): the input passes
    beside the attention, which has a shortcut of its own, once more with the factor `shortcut`.
    """

    def __init__(self, attn: nn.Module, mlp: nn.Module, shortcut: Tensor) -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp
        self.shortcut = nn.Parameter(shortcut[:, None, None], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        x = torch.addcmul(self.attn(x), x, self.shortcut)
        return x + self.mlp(x)


def fold_van_block(block: van.Block, folder: Folder) -> nn.Module | None:
    """All of a block, if its normalisations are BatchNorm."""
    attn, mlp = block.attn, block.mlp
    pairs = ((block.norm1, attn.proj_1), (block.norm2, mlp.fc1))
    if not all(folder.can_fold(norm, conv) for norm, conv in pairs):
        return None
    if not all(folder.is_own_conv(conv) for conv in (attn.proj_2, mlp.fc2)):
        return None
    for norm, conv in pairs:
        scale_input(conv, *scale_and_shift(norm))
    scale, shift = scale_and_shift(block.norm1)
    factor = block.layer_scale_1.double()
    scale_output(attn.proj_2, factor, factor * shift)
    scale_output(mlp.fc2, block.layer_scale_2.double())
    folder.num_folded += 4
    shortcut = (factor * scale).to(block.layer_scale_1.dtype)
    return FoldedVANBlock(attn, mlp, shortcut.detach()).eval()


def fold_mbconv(block: coatnet.MBConv, folder: Folder) -> None:
    """The first normalisation where nothing bends its output, the third where none excites it."""
    if isinstance(block.pre_act, nn.Identity) and _keeps_affine(block.down):
        folder.before(block, 'pre_norm', block.conv1_1x1)
    folder.after(block, 'conv1_1x1', 'norm1')
    if isinstance(block.se_early, nn.Identity):
        folder.after(block, 'conv2_kxk', 'norm2')


def fold_transformer_block(block: coatnet.TransformerBlock, folder: Folder) -> None:
    """BatchNorm before the projections, and the residuals' scales after them."""
    if isinstance(block.norm1, nn.Sequential):
        if _keeps_affine(block.norm1.down.pool):
            folder.before(block.norm1, 'norm', block.attn.qkv)
    else:
        folder.before(block, 'norm1', block.attn.qkv)
    folder.before(block, 'norm2', block.mlp.fc1)
    for name, conv in (('ls1', block.attn.proj), ('ls2', block.mlp.fc2)):
        layer = getattr(block, name)
        if isinstance(layer, coatnet.LayerScale):
            folder.scale(block, name, layer.gamma, conv)


def fold_bottleneck(block: sasa.Bottleneck, folder: Folder) -> None:
    """All three, where the second is attention too: its weights of the values add up to one."""
    folder.after(block, 'conv1', 'bn1')
    folder.after(block, 'conv3', 'bn3')
    attention = isinstance(block.conv2, sasa.LocalAttention)
    if _keeps_affine(block.pool):
        folder.into_last(block, 'bn2', block.conv2.value if attention else block.conv2)


def _keeps_affine(pool: nn.Module) -> bool:
    """Whether a factor and a shift of each channel may as well be applied after the pooling."""
    mean = isinstance(pool, nn.AvgPool2d) and not pool.count_include_pad
    return mean or isinstance(pool, nn.Identity)


FOLDS: dict[type[nn.Module], Callable[[nn.Module, Folder], nn.Module | None]] = {
    ConvModule: fold_conv_module,
    nn.Sequential: fold_sequence,
    van.OverlapPatchEmbed: conv_then_norm('proj', 'norm'),
    van.Block: fold_van_block,
    coatnet.Stem: conv_then_norm('conv1', 'norm1'),
    coatnet.MBConv: fold_mbconv,
    coatnet.TransformerBlock: fold_transformer_block,
    sasa.Bottleneck: fold_bottleneck,
    sasa.SASAResNet: conv_then_norm('conv1', 'bn1'),
}
