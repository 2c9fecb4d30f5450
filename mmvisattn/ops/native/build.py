"""Compile the C++ beside this file at first use, keep it and call it; do without if that fails."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

SOURCES = sorted(Path(__file__).parent.glob('*.cpp'))
HEADERS = sorted(Path(__file__).parent.glob('*.h'))
FLAGS = ('-std=c++17', '-O2', '-march=native', '-fPIC', '-shared')
COMPILERS = ('c++', 'g++', 'clang++')
SECONDS = 120  # a compiler that takes longer hangs
WORK_PER_THREAD = 2**20  # with less, another thread costs more than it brings


class NotBuilt(Exception):
    """Why there is no library."""


@torch.compiler.assume_constant_result
def why_not() -> str | None:
    """Why the operators of this folder are missing; None if they are there.

    The first call in a process looks for what was built before, or builds it.
    """
    if os.environ.get('MMVISATTN_NATIVE') == '0':
        return 'MMVISATTN_NATIVE=0 switches the C++ operators off'
    built = _built()
    return built if isinstance(built, str) else None


def status() -> str:
    """Whether the C++ operators are there, in a sentence for people."""
    reason = why_not()
    return f'not in use: {reason}' if reason else f'compiled ({_built()._name})'


def call(
    name: str, tensors: Sequence[Tensor | None], *numbers: int | Sequence[int], work: int
) -> None:
    """Call a function of the compiled library; `why_not` must be None.

    Args:
        name: Its name without the dtype.
        tensors: What it takes the addresses of; the first is of its dtype.
        numbers: Its other arguments, but for the number of threads, which is the last.
        work: What it does, in multiply-adds or numbers moved.
    """
    dtype = str(tensors[0].dtype).removeprefix('torch.')
    addresses = (ctypes.c_void_p(None if t is None else t.data_ptr()) for t in tensors)
    arguments = (n if isinstance(n, int) else (ctypes.c_int64 * len(n))(*n) for n in numbers)
    threads = min(torch.get_num_threads(), 1 + work // WORK_PER_THREAD)
    getattr(_built(), f'{name}_{dtype}')(*addresses, *arguments, threads)


@functools.cache
def _built() -> ctypes.CDLL | str:
    """The library or, for the rest of the process, why there is none."""
    try:
        compiler = _compiler()
        # Not every compiler has OpenMP; without it one thread computes.
        try:
            return _loaded((*compiler, *FLAGS, '-fopenmp'))
        except NotBuilt:
            return _loaded((*compiler, *FLAGS))
    except Exception as error:  # whatever goes wrong, others compute the same
        return str(error) or type(error).__name__


def _compiler() -> list[str]:
    asked = os.environ.get('CXX')
    for candidate in (asked,) if asked else COMPILERS:
        command = shlex.split(candidate)
        if shutil.which(command[0]):
            return command
    raise NotBuilt(f'there is no C++ compiler ({asked or ", ".join(COMPILERS)})')


def _loaded(command: tuple[str, ...]) -> ctypes.CDLL:
    name = f'native-{_key(command)}.so'
    try:
        return _loaded_from(_cache_folder(), name, command)
    except OSError:  # a folder that cannot be written, or a file that cannot be loaded
        with tempfile.TemporaryDirectory() as folder:
            return _loaded_from(Path(folder), name, command)


def _loaded_from(folder: Path, name: str, command: tuple[str, ...]) -> ctypes.CDLL:
    file = folder / name
    if not file.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(f'{file}.lock', timeout=2 * SECONDS):
            if not file.exists():
                _compile(command, file)
    state = file.stat()
    if state.st_uid not in (os.getuid(), 0) or state.st_mode & 0o022:
        raise PermissionError(f'{file} may have been written by others')
    return ctypes.CDLL(str(file))


def _compile(command: tuple[str, ...], file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        unfinished = Path(folder) / file.name
        run = subprocess.run(
            [*command, *map(str, SOURCES), '-o', str(unfinished)],
            capture_output=True,
            text=True,
            errors='replace',
            timeout=SECONDS,
        )
        if run.returncode:
            raise NotBuilt(f'{shlex.join(command)} failed: {run.stderr.strip()[:500]}')
        unfinished.chmod(0o700)  # whatever the umask
        os.replace(unfinished, file)


def _cache_folder() -> Path:
    asked = os.environ.get('MMVISATTN_CACHE')
    return Path(asked).expanduser() if asked else Path.home() / '.cache' / 'mmvisattn'


def _key(command: tuple[str, ...]) -> str:
    """Differs wherever the built file could: source, compiler, flags and processor."""
    version = subprocess.run(
        [*command, '--version'], capture_output=True, text=True, errors='replace', timeout=SECONDS
    )
    parts = [
        *(file.read_bytes() for file in (*SOURCES, *HEADERS)),
        repr(command).encode(),
        version.stdout.encode(),
        _processor(),
    ]
    return hashlib.sha256(b'\0'.join(parts)).hexdigest()[:16]


def _processor() -> bytes:
    """The processor's model and instructions, which -march=native compiles for."""
    try:
        lines = Path('/proc/cpuinfo').read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    told = (b'model name', b'flags', b'Features', b'CPU part')
    return b'\n'.join(sorted({line for line in lines if line.startswith(told)}))
