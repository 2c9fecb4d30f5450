"""Building blocks that two or more backbones share; a block with one user stays in its file."""

from .convolution import DepthwiseConv2d, PointwiseConv2d
from .init import init_convolution
from .norm import LayerNorm2d
from .recompute import recompute

__all__ = ['DepthwiseConv2d', 'LayerNorm2d', 'PointwiseConv2d', 'init_convolution', 'recompute']
