"""What a checkpoint's pickle may hold: tensors and plain data, and nothing that could run code.

PyTorch's reader calls only what it is allowed to, but takes any use of that for harmless. Two
things that MMEngine's checkpoints need are not, and have stand-ins here: `getattr`, by which a
file reaches every module of Python, and numpy's dtypes, which a file may change until its bytes
are taken for addresses of Python objects.
"""

from __future__ import annotations

import pickle
from argparse import Namespace

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

NUMBERS = 'biufc'  # kinds of numpy's dtypes: bool, integers, floats, complex
# What a log buffer computes; MMEngine pickles it with these methods by name.
STATISTICS = ('current', 'max', 'mean', 'min')
DEEPEST = 50  # containers in each other; a checkpoint of a run has six


class Numbers:
    """Stands in for `numpy.dtype`: a dtype of plain numbers.

    Args:
        name: Such as 'f8'.
        *_: Whether to align and to copy, which mean nothing here.
    """

    def __init__(self, name: str, *_: object) -> None:
        dtype = np.dtype(name) if isinstance(name, str) else None
        if dtype is None or dtype.kind not in NUMBERS:
            raise pickle.UnpicklingError(f'an array of {name!r} in place of numbers')
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        """Take the order of the bytes, which is all that numbers have of a state."""
        _, order, *structure = state
        if structure[:3] != [None] * 3:
            raise pickle.UnpicklingError('an array of structures in place of numbers')
        self.dtype = self.dtype.newbyteorder(order)


class Array:
    """Stands in for `numpy.ndarray` while a file is read; `plain` puts the array in its place."""

    array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        """Make the array of its shape, its numbers and their type."""
        _, shape, numbers, is_fortran, content = state
        self.array = np.empty(0)
        self.array.__setstate__((1, shape, numbers.dtype, is_fortran, content))


def _reconstruct(*_: object) -> Array:
    return Array()


def _scalar(numbers: Numbers, content: bytes) -> np.generic:
    return np._core.multiarray.scalar(numbers.dtype, content)


def _history_method(owner: object, name: str) -> object:
    """Stands in for `getattr`, which would hand out everything from `__globals__` on."""
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise pickle.UnpicklingError('Unsupported global: GLOBAL builtins.getattr is blocked')
    return getattr(owner, name)


# What MMEngine's own training checkpoints hold besides tensors: logged numbers.
SAFE_GLOBALS = [
    Namespace,  # timm saves its arguments
    HistoryBuffer,
    bytes,  # of an empty array
    (_history_method, 'builtins.getattr'),
    (Array, 'numpy.ndarray'),
    (Numbers, 'numpy.dtype'),
    # numpy 1 wrote these names without an underscore.
    *((_reconstruct, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]
STAND_INS = [entry[1] for entry in SAFE_GLOBALS if isinstance(entry, tuple)]


def plain(content: object, largest: int) -> object:
    """The content of a pickle with its arrays in their places, once all of it is sound.

    Containers are changed where they are.

    Args:
        content: What was read with `SAFE_GLOBALS`.
        largest: The bytes that a tensor may have: those of the file.

    Raises:
        ValueError: It is nested too deeply, or a tensor is no plain one or larger than the file.
    """
    done: dict[int, tuple[object, object]] = {}  # by id; the value is kept, and so its id

    def checked(value: object, depth: int) -> object:
        if value is None or isinstance(value, int | float | str | bytes):
            return value
        if id(value) in done:
            return done[id(value)][1]
        if depth > DEEPEST:
            raise ValueError(f'it is nested more than {DEEPEST} deep')
        result = value
        if isinstance(value, Array):
            result = value.array
        elif isinstance(value, Tensor):
            _require_plain(value, largest)
        elif isinstance(value, dict | list | tuple):
            done[id(value)] = value, value  # should it hold itself
            keys = list(value) if isinstance(value, dict) else range(len(value))
            new = [checked(value[key], depth + 1) for key in keys]
            if type(value) is tuple:
                result = tuple(new)
            elif not isinstance(value, tuple):  # torch.Size holds numbers alone
                for key, one in zip(keys, new, strict=True):
                    value[key] = one
        elif isinstance(getattr(value, '__dict__', None), dict):
            checked(vars(value), depth + 1)
        done[id(value)] = value, result
        return result

    return checked(content, 0)


def _require_plain(tensor: Tensor, largest: int) -> None:
    if (
        tensor.layout is not torch.strided
        or tensor.is_meta
        or tensor.is_quantized
        or tensor.is_nested
    ):
        raise ValueError('a tensor of it is sparse, quantized, nested or without numbers')
    size = max(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
    if size > largest:
        raise ValueError(f'a tensor of it claims {size:,} bytes, more than the file has')
