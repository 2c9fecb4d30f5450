"""What the Triton kernels share on the host: where they run, in which dtype, in how many parts.

Imports no Triton, so that an operator can ask `why_not` where there is none.
"""

import importlib.util
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import torch
from torch import Tensor

from ..tensors import exporting

T = TypeVar('T')

OLDEST = 3, 6
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Triton reads it once, too, when it is imported: it then computes with numpy, on the CPU.
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
# No GPU has measured the kernels yet: until one has, they run where `backend='triton'` or this
# asks for them.
BY_REQUEST = os.environ.get('MMVISATTN_TRITON') != '1'
# About two programs for each of the 132 processors of an H100. The same on every device, so that
# a sum in parts rounds the same everywhere.
PROGRAMS = 264


def _unusable() -> str | None:
    if importlib.util.find_spec('triton') is None:
        return 'triton is not installed'
    try:
        found = version('triton')
    except PackageNotFoundError:  # nightly builds have another name
        return None
    if tuple(int(part) for part in found.split('.')[:2]) < OLDEST:
        return f'it needs triton {OLDEST[0]}.{OLDEST[1]}, and {found} is installed'
    return None


UNUSABLE = _unusable()


def why_not(*args: object) -> str | None:
    """Why Triton cannot compute a call with these arguments, or None if it can."""
    if UNUSABLE is not None:
        return UNUSABLE
    if exporting():
        return 'an exported graph cannot hold a Triton kernel'
    device = args[0].device.type
    if device != ('cpu' if INTERPRETED else 'cuda'):
        return f'it is for CUDA devices, and x is on {device}'
    if torch.version.hip is not None:
        return 'it was never run on ROCm'
    for tensor in args:
        if isinstance(tensor, Tensor) and tensor.dtype not in DTYPES:
            return f'it computes float32, bfloat16 and float16, not {tensor.dtype}'
        if isinstance(tensor, Tensor) and tensor.numel() >= 2**31:
            return 'it counts elements in 32 bits'
    return None


def channels_last(x: Tensor) -> Tensor:
    """A map (N, C, H, W) as the kernels read it: pixel after pixel, a pixel's channels together."""
    return x.contiguous(memory_format=torch.channels_last)


def dot_precision() -> str:
    """How `tl.dot` multiplies float32, as `torch.set_float32_matmul_precision` says.

    Three TF32 products for 'highest', which round as float32 does; one for less.
    """
    return 'tf32x3' if torch.get_float32_matmul_precision() == 'highest' else 'tf32'


def tuned(configs: Sequence[T]) -> Sequence[T]:
    """The configs that are tried on the device: the first alone where nothing is timed."""
    return configs[:1] if INTERPRETED else configs


def parts(work: int, programs: int) -> int:
    """How many parts of a sum over `work` blocks `programs` others leave room for, at least 1."""
    return max(1, min(work, PROGRAMS // programs))
