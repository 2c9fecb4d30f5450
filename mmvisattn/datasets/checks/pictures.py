"""One picture: does it decode, and how large is it as the libraries load it?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image

from .report import Finding

TURNED = range(5, 9)  # EXIF orientations that swap width and height


def check_picture(path: Path, size: tuple[int, int] | None = None) -> Iterator[Finding]:
    """Decode a picture, and compare its size with what an annotation says.

    Args:
        path: The file.
        size: (width, height) that it should have as loaded; None: any.
    """
    if not is_there(path):
        yield Finding(f'{path} is no file')  # a pipe would be waited for
        return
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.mode.startswith('I;16'):
                kind = 'pictures of 16 bits (OpenCV keeps the upper 8, Pillow turns them white)'
                yield Finding(kind, path, legal=True)
            shown = shown_size(picture)
            if size in (None, shown):
                return
            turned = shown != picture.size
    except Exception as error:  # broken files make Pillow raise anything
        yield Finding(f'{path} does not decode: {error}')
        return
    why = ' once turned by its EXIF orientation, as it is loaded' if turned else ''
    yield Finding(f'{path} is {_by(shown)} pixels{why}, and its annotation says {_by(size)}')


def is_there(path: Path) -> bool:
    """Whether this is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def leads_out(name: str) -> bool:
    """Whether a file of this name would lie outside of the folder that it is looked for in."""
    return os.path.isabs(name) or Path(os.path.normpath(name)).parts[:1] == ('..',)


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """(width, height) after the EXIF orientation, which the libraries apply to colour pictures."""
    width, height = picture.size
    turned = picture.getexif().get(ExifTags.Base.Orientation) in TURNED
    return (height, width) if turned else (width, height)


def _by(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'
