"""Building blocks that two or more backbones share; a block with one user stays in its file."""

from .init import init_convolution
from .norm import LayerNorm2d
from .pointwise import PointwiseConv2d
from .recompute import recompute

__all__ = ['LayerNorm2d', 'PointwiseConv2d', 'init_convolution', 'recompute']
