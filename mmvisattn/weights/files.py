"""Read and write checkpoint files, and never run code that a file holds."""

from __future__ import annotations

import os
import pkgutil
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
import torch
from torch import Tensor

from ..atomic import written_whole
from ..errors import UserError
from .download import fetch, is_url, unpublished_name
from .plain import SAFE_GLOBALS, STAND_INS, plain

# Names, separated by commas, that pickles may call besides SAFE_GLOBALS.
TRUSTED_GLOBALS = 'MMVISATTN_TRUSTED_GLOBALS'
# What a file is written as, by the ending of its name.
SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors')


def read_checkpoint(
    source: str | Path | BinaryIO, map_location: str | torch.device | None = 'cpu'
) -> dict:
    """The content of a checkpoint: a path, a URL or an open file, whose pickle may hold data only.

    Raises:
        UserError: No such file, no checkpoint, or one that would run code.
    """
    if isinstance(source, (str, Path)):
        path = file_of(source)
        if not path.is_file():
            raise UserError(f'no such checkpoint: {source}', do='check the path')
    else:
        path = source
    allowed = [*SAFE_GLOBALS, *(t for t in trusted_globals() if t[1] not in STAND_INS)]
    try:
        if isinstance(path, Path) and path.suffix == '.safetensors':
            return safetensors.torch.load_file(path, device=str(map_location or 'cpu'))
        size = _require_unpacked(path)
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location=map_location, weights_only=True)
        content = plain(content, size)
    except Exception as error:  # broken files make torch and safetensors raise anything
        raise (refusal(source, error) or _unreadable(source, error)) from error
    if not isinstance(content, dict):
        raise _unreadable(source, TypeError(f'it holds a {type(content).__name__}'))
    return content


def _require_unpacked(source: Path | BinaryIO) -> int:
    """The size of a file in bytes, if its parts are not larger: `torch.save` compresses nothing."""
    file = source.open('rb') if isinstance(source, Path) else source
    try:
        size = file.seek(0, os.SEEK_END)
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                claimed = sum(part.file_size for part in archive.infolist())
            if claimed > size:
                raise ValueError(f'its parts claim {claimed:,} bytes, more than the file has')
        return size
    finally:
        file.close() if isinstance(source, Path) else file.seek(0)


# Where a checkpoint holds its parameters; averaged ones are taken where nothing else is.
PLACES = ('state_dict', 'model', 'state_dict_ema', 'model_ema')
# What wrappers put before every name: DistributedDataParallel and torch.compile.
WRAPPERS = re.compile(r'^(module\.|_orig_mod\.)+')


def places_of(checkpoint: dict) -> list[str]:
    """The keys of a checkpoint that hold parameters, the one that is taken first."""
    return [key for key in PLACES if isinstance(checkpoint.get(key), dict)]


def state_dict_of(checkpoint: dict, place: str | None = None) -> dict[str, Tensor]:
    """The parameters in a checkpoint: under a key such as `state_dict`, or the file itself.

    Args:
        checkpoint: What a file holds.
        place: The key to take; None takes the first of `PLACES` that is there.

    Raises:
        UserError: The file has no such key.
    """
    found = places_of(checkpoint)
    if place is not None and place not in found:
        raise UserError(
            f'the checkpoint holds no parameters under {place!r}', expected=' or '.join(found)
        )
    if place or found:
        checkpoint = checkpoint[place or found[0]]
    tensors = {
        key: value
        for key, value in checkpoint.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    return {WRAPPERS.sub('', key).replace('._orig_mod.', '.'): v for key, v in tensors.items()}


def write_checkpoint(
    path: str | Path, state_dict: dict[str, Tensor], wrapping: str | None = None
) -> None:
    """Write tensors under a temporary name, then rename: no reader ever sees half a file.

    Args:
        path: Its ending says what is written: safetensors, or what `torch.save` writes.
        state_dict: The tensors.
        wrapping: The key that a file of `torch.save` holds them under; None for none.

    Raises:
        UserError: A name with another ending.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(
            f'{path}: the ending of the name says what is to be written',
            expected=' '.join(SUFFIXES),
            got=path.suffix or None,
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        if path.suffix == '.safetensors':
            # safetensors refuses tensors that share memory, as views into one do.
            own = {key: value.clone(memory_format=torch.contiguous_format)
                   for key, value in state_dict.items()}  # fmt: skip
            file.write(safetensors.torch.save(own, metadata={'format': 'pt'}))
        else:
            torch.save({wrapping: state_dict} if wrapping else state_dict, file)


def file_of(source: str | Path) -> Path:
    """The file that a path or a URL names, downloaded if need be."""
    if is_url(source):
        return fetch({str(source): None}, unpublished_name)
    return Path(source).expanduser()


def trusted_globals() -> list[tuple[object, str]]:
    """What the user vouches for, each with its name."""
    names = {name.strip() for name in os.environ.get(TRUSTED_GLOBALS, '').split(',')}
    trusted = []
    for name in sorted(names - {''}):
        try:
            trusted.append((pkgutil.resolve_name(name), name))
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f'{TRUSTED_GLOBALS} names what cannot be imported: {name}',
                expected='package.name,package.other, as a refusal spells them',
                got=error,
            ) from error
    return trusted


def refusal(
    source: object, error: Exception, expected: str = 'a checkpoint of tensors and plain data'
) -> UserError | None:
    """What to raise if this error says that a pickle calls what it may not; else None."""
    found = re.search(r'GLOBAL ([\w.]+)', str(error))
    if found is None:
        return None
    remedy = 'get the weights from a source that publishes plain tensors'
    if 'is blocked' not in str(error):  # PyTorch lets nobody vouch for os, sys and the like
        known = os.environ.get(TRUSTED_GLOBALS)
        remedy += (
            '\nor, only if you trust who made the file, put this before the command:\n'
            f'{TRUSTED_GLOBALS}={known + "," if known else ""}{found[1]}'
        )
    return UserError(
        f'{source} would run code when loaded, so it was not loaded',
        expected=expected,
        got=f'a pickle that calls {found[1]}',
        do=remedy,
    )


def _unreadable(source: object, error: Exception) -> UserError:
    reason = str(error).rpartition('WeightsUnpickler error: ')[2].strip().splitlines()
    return UserError(
        f'{source} is not a readable checkpoint',
        expected='a file written by torch.save or safetensors, with a dict of tensors',
        got=reason[0] if reason else type(error).__name__,
        do='download or copy it again',
    )
