"""Initialisation of layers."""

import math

from torch import nn


def init_convolution(module: nn.Module) -> None:
    """Normal with variance 2 / fan-out, fan-out counted per group; other modules are left alone.

    As in torchvision's ResNet, timm's EfficientNet family and the VAN release.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / (fan_out // module.groups)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
