"""Hold the libraries to reading files without running them, and to writing them whole."""

from __future__ import annotations

import os
import pickle
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TextIO

import torch
import yaml
from mmengine.fileio import (
    LocalBackend,
    PickleHandler,
    YamlHandler,
    get_file_backend,
    register_handler,
)
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import runner as mmengine_runner

from ..atomic import written_whole
from ..errors import UserError
from .files import file_of, read_checkpoint, refusal, trusted_globals
from .loads import Load, announce


def guard_libraries() -> None:
    """Let MMEngine and the toolboxes read every file of this process as this package would.

    They also write each checkpoint whole or not at all.

    - Checkpoints: MMEngine's own reader falls back to running what a refused pickle holds, and
      reads URLs so from the start; `Pretrained` of every library's backbones goes through it.
      Whatever else calls `torch.load` is held to plain data by PyTorch's own switch.
    - Pickles and YAML that `mmengine.load` reads (annotations, proposals, configs): plain data.
    - Tar archives that a data set unpacks: nothing is written outside their folder.
    """
    mmengine_checkpoint._safe_torch_load = _read_for_mmengine
    mmengine_checkpoint.load_url = _read_for_mmengine
    mmengine_runner.save_checkpoint = _write_for_mmengine
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)  # PyTorch stops if both are set
    register_handler(['pkl', 'pickle'])(PlainPickles)
    register_handler(['yaml', 'yml'])(PlainYaml)
    if hasattr(tarfile, 'data_filter'):
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    else:  # before Python 3.10.12 and 3.11.4
        tarfile.TarFile._extract_member = _extract_within


_extract_member = tarfile.TarFile._extract_member


def _extract_within(archive: tarfile.TarFile, member: tarfile.TarInfo, *args, **kwargs) -> None:
    """Unpack a member that neither lies nor leads outside of the folder."""
    paths = [PurePosixPath(name) for name in (member.name, member.linkname)]
    if member.isdev() or any(path.is_absolute() or '..' in path.parts for path in paths):
        raise tarfile.ReadError(f'{member.name!r} would be unpacked outside of its folder')
    _extract_member(archive, member, *args, **kwargs)


def _read_for_mmengine(
    source: str | BinaryIO, map_location: str | torch.device | None = None, **_: object
) -> dict:
    content = read_checkpoint(source, map_location)
    if isinstance(source, (str, Path)):
        announce(Load('pretrained', str(source), file_of(source)))
    return content


def _write_for_mmengine(checkpoint: dict, filename: str, *args: object, **kwargs: object) -> None:
    """Write to a disk ourselves; MMEngine's file backends reach what is no disk."""
    if isinstance(get_file_backend(filename), LocalBackend):
        with written_whole(filename) as file:
            torch.save(checkpoint, file)
    else:
        mmengine_checkpoint.save_checkpoint(checkpoint, filename, *args, **kwargs)


class PlainPickles(PickleHandler):
    """Pickles of plain data, and of what the user vouches for."""

    def load_from_fileobj(self, file: BinaryIO, **_: object) -> object:
        """Read one.

        Raises:
            UserError: It would run code, or is no pickle.
        """
        name = getattr(file, 'name', 'a pickled file of the data set')
        try:
            return _Unpickler(file).load()
        except Exception as error:  # broken files make pickle raise anything
            raise refusal(name, error, 'plain data') or UserError(
                f'{name} cannot be read',
                expected='a pickle',
                got=f'{type(error).__name__}: {error}',
            ) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        wanted = f'{module}.{name}'
        for found, known in trusted_globals():
            if known == wanted:
                return found
        raise pickle.UnpicklingError(f'GLOBAL {wanted}')


class PlainYaml(YamlHandler):
    """YAML of plain data; MMEngine's own loader calls what a tag names."""

    def load_from_fileobj(self, file: TextIO, **_: object) -> object:
        """Read it."""
        return yaml.load(file, _YamlLoader)


class _YamlLoader(yaml.SafeLoader):
    pass


# MMEngine writes tuples so.
_YamlLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple',
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)
