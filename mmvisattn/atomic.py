"""Files that are whole or not there: what is killed while it writes leaves the old one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

# The ending of what is being written; a process that was killed leaves it behind.
PARTIAL = '.partial'


@contextmanager
def written_whole(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; synced to the disk, it takes that name at the end.

    Raises:
        OSError: The disk is full or read-only; nothing is left behind, `path` is as it was.
    """
    path = Path(path)
    partial = path.with_name(f'{path.name}.{uuid4().hex}{PARTIAL}')
    try:
        with partial.open('wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as a whole, in UTF-8."""
    with written_whole(path) as file:
        file.write(text.encode())


def remove_partial(folder: str | Path) -> None:
    """Remove what a killed process was writing into a folder."""
    for path in Path(folder).glob(f'*{PARTIAL}'):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power cut, where the file system can be asked to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot
        pass
    finally:
        os.close(descriptor)
