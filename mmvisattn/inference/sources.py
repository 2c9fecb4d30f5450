"""What predictions are made on, one by one: pictures, folders, arrays, videos and cameras."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import UserError

PICTURES = {'.jpg', '.jpeg', '.jpe', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm'}
VIDEOS = {'.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv'}
FPS = 25.0  # of a camera that does not say


class Item(NamedTuple):
    """One picture to come.

    Attributes:
        name: What it is called, and what is made of it: a path, or a frame's number.
        picture: (H, W, 3) uint8, RGB; None for a file, which is read when its turn comes.
        path: The file, if it is one.
    """

    name: str
    picture: NDArray[np.uint8] | None = None
    path: str | None = None


class Film(NamedTuple):
    """A video or a camera that has been opened.

    Attributes:
        frames: Its pictures, read one at a time.
        fps: Frames per second.
        count: How many there are; None if nobody knows.
    """

    frames: Iterator[Item]
    fps: float
    count: int | None


class Names:
    """Gives each picture a name of its own, though files of two folders may share one."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def own(self, stem: str) -> str:
        """The stem of the file, with a number if another picture has that name."""
        name, count = stem, 1
        while name in self._given:
            count += 1
            name = f'{stem}_{count}'
        self._given.add(name)
        return name


def is_one(source: object) -> bool:
    """Whether a source is a single picture: an array, a PIL image or the path of a picture."""
    if isinstance(source, (np.ndarray, Image.Image)):
        return True
    return isinstance(source, (str, Path)) and not _is_many(str(source))


def is_film(source: object) -> bool:
    """Whether a source is a video, by the end of its name, or a camera, by its number."""
    if isinstance(source, int) and not isinstance(source, bool):
        return True
    text = str(source) if isinstance(source, (str, Path)) else ''
    return Path(text).suffix.lower() in VIDEOS and not Path(text).is_dir() and not _is_pattern(text)


def pictures_in(source: object) -> list[Item] | Iterator[Item]:
    """The pictures of a source, in the order of their names; a list where their number is known.

    Args:
        source: A path, a folder (with those below it), a pattern such as `'val/*.jpg'`, an array
            (H, W, 3) of RGB, a PIL image, or any iterable of these.

    Raises:
        UserError: No such file, no picture there, a URL, or an array that is no picture.
    """
    if isinstance(source, Item):
        return [source]
    if isinstance(source, np.ndarray):
        return [Item('picture', _checked(source))]
    if isinstance(source, Image.Image):
        name = Path(getattr(source, 'filename', '') or 'picture').name
        return [Item(name, np.asarray(_in_eight_bits(ImageOps.exif_transpose(source))))]
    if isinstance(source, (str, Path)):
        return [Item(path, path=path) for path in _paths(str(source))]
    if isinstance(source, (list, tuple)):
        if not source:
            raise UserError('an empty list of pictures')
        return _numbered([item for one in source for item in pictures_in(one)])
    if isinstance(source, Iterable):
        return (item for one in source for item in pictures_in(one))
    raise UserError(
        'this is no picture',
        expected='a path, folder or pattern, an array (H, W, 3), a PIL image, or a list of them',
        got=type(source).__name__,
    )


def pictures_and_films(sources: Iterable[str | int]) -> tuple[list[Item], list[str | int]]:
    """The pictures, and the videos and cameras, of what a command line names.

    Args:
        sources: Paths, folders and patterns, of pictures and videos both; numbers of cameras.

    Raises:
        UserError: As `pictures_in`.
    """
    items, films = [], []
    for source in sources:
        found = [source] if is_film(source) else _paths(source, PICTURES | VIDEOS)
        films += filter(is_film, found)
        items += [Item(path, path=path) for path in found if not is_film(path)]
    return items, films


@contextmanager
def opened_film(source: str | Path | int) -> Iterator[Film]:
    """A video or, by its number, a camera.

    Raises:
        UserError: It cannot be opened.
    """
    camera = isinstance(source, int)
    if not camera and not Path(source).is_file():
        raise UserError(f'no such video: {source}')
    capture = cv2.VideoCapture(source if camera else str(source))
    try:
        if not capture.isOpened():
            raise UserError(
                f'camera {source} cannot be opened' if camera else f'{source} is no video',
                expected=None if camera else 'a video that OpenCV reads, such as MP4 (H.264)',
                do='ls /dev/video* shows the cameras' if camera else None,
            )
        stem = f'camera{source}' if camera else Path(source).stem
        count = 0 if camera else int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = capture.get(cv2.CAP_PROP_FPS) or FPS
        yield Film(_frames(capture, stem), fps, count if count > 0 else None)
    finally:
        capture.release()


def _frames(capture: cv2.VideoCapture, stem: str) -> Iterator[Item]:
    number = 0
    while True:
        there, frame = capture.read()
        if not there:
            return
        number += 1
        yield Item(f'{stem}_{number:06d}', frame[..., ::-1])


def _paths(text: str, endings: set[str] = PICTURES) -> list[str]:
    """The files that a path, a folder or a pattern stands for, with one of these endings."""
    if re.match(r'[a-zA-Z][a-zA-Z0-9+.-]+://', text):
        raise UserError(f'{text} is not on this machine', do='download it, then give its path')
    path = Path(text)
    if path.is_file():
        return [text]
    if path.is_dir():
        found, where = map(str, path.rglob('*')), f'the folder {text}'
    elif _is_pattern(text):
        found, where = glob.glob(text, recursive=True), f'what {text} matches'
    else:
        raise UserError(f'no such picture, folder or pattern: {text}')
    files = sorted(name for name in found if Path(name).suffix.lower() in endings)
    files = [name for name in files if Path(name).is_file()]
    if not files:
        raise UserError(f'no picture in {where}', expected=f'files in {" ".join(sorted(endings))}')
    return files


def _is_many(text: str) -> bool:
    return is_film(text) or Path(text).is_dir() or (_is_pattern(text) and not Path(text).is_file())


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not Path(text).exists()


def _numbered(items: list[Item]) -> list[Item]:
    """Pictures without a file are told apart by their places."""
    return [
        item if item.path else item._replace(name=f'{item.name}_{number:06d}')
        for number, item in enumerate(items, 1)
    ]


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """RGB; of 16 bits the upper ones, as OpenCV reads files, where Pillow would clip."""
    if image.mode.startswith('I;16'):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert('RGB')


def _checked(picture: NDArray) -> NDArray[np.uint8]:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise UserError(
            'this array is no picture',
            expected='(H, W, 3) of uint8, in the order red, green, blue',
            got=f'{picture.shape} of {picture.dtype}',
            do='OpenCV reads blue first: picture[..., ::-1]; Pillow: image.convert("RGB")',
        )
    return picture
