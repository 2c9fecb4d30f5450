"""The 1 x 1 convolution as a module."""

from torch import Tensor, nn

from ..ops.pointwise import pointwise_conv2d


class PointwiseConv2d(nn.Conv2d):
    """What `nn.Conv2d(in_channels, out_channels, 1)` is, with the same parameters, and faster."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of each pixel: (N, in_channels, H, W) to (N, out_channels, H, W)."""
        return pointwise_conv2d(x, self.weight, self.bias)
