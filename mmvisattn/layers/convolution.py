"""Convolutions as modules, with the parameters of `nn.Conv2d`, computed by our operators."""

from torch import Tensor, nn

from ..ops import depthwise_conv2d
from ..ops.pointwise import pointwise_conv2d


class PointwiseConv2d(nn.Conv2d):
    """What `nn.Conv2d(in_channels, out_channels, 1, stride)` is, and faster."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, 1, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of each pixel: (N, in_channels, H, W) to (N, out_channels, H, W)."""
        return pointwise_conv2d(x, self.weight, self.bias, self.stride)


class DepthwiseConv2d(nn.Conv2d):
    """What `nn.Conv2d(C, C, kernel_size, padding='same', groups=C)` is to a batch, and faster."""

    def __init__(
        self, channels: int, kernel_size: int, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__(
            channels,
            channels,
            kernel_size,
            padding='same',
            dilation=dilation,
            groups=channels,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve each channel of x (N, C, H, W), and keep the size."""
        return depthwise_conv2d(x, self.weight, self.bias, dilation=self.dilation[0])
