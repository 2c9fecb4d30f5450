"""The networks, one file per paper, under one contract (`base.py`)."""

from .base import BaseBackbone
from .van import VAN

__all__ = ['VAN', 'BaseBackbone']
