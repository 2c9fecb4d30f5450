"""The networks, one file per paper, under one contract (`base.py`)."""

from .base import BaseBackbone
from .coatnet import CoAtNet
from .cyclemlp import CycleMLP
from .sasa import SASAResNet
from .van import VAN

# 'van_b2', 'cyclemlp_b1', 'sasa_r50', 'coatnet_0'; timm's names of CoAtNet are archs themselves
NAMES = {
    arch if arch.startswith(prefix) else f'{prefix}_{arch}': (network, arch)
    for prefix, network in (
        ('van', VAN),
        ('cyclemlp', CycleMLP),
        ('coatnet', CoAtNet),
        ('sasa', SASAResNet),
    )
    for arch in network.ARCHS
}

__all__ = ['NAMES', 'VAN', 'BaseBackbone', 'CoAtNet', 'CycleMLP', 'SASAResNet']
