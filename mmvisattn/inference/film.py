"""Painted pictures as a video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
from numpy.typing import NDArray

from ..atomic import PARTIAL
from ..errors import UserError

CODEC = 'mp4v'  # MPEG-4, which every build of OpenCV writes


class FilmWriter:
    """Takes the pictures of a video, all of one size.

    Args:
        path: An .mp4, which is written at once.
        fps: Frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._writer: cv2.VideoWriter | None = None

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Append a picture (H, W, 3), RGB.

        Raises:
            UserError: OpenCV cannot write it.
        """
        if self._writer is None:
            size = (picture.shape[1], picture.shape[0])
            code = cv2.VideoWriter_fourcc(*CODEC)
            self._writer = cv2.VideoWriter(str(self._path), code, self._fps, size)
            if not self._writer.isOpened():
                raise UserError(f'OpenCV cannot write the video {self._path}')
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def close(self) -> bool:
        """Finish the file; says whether there is one."""
        if self._writer is None:
            return False
        self._writer.release()
        return True


@contextmanager
def written_film(path: str | Path, fps: float) -> Iterator[FilmWriter]:
    """Write a video, which takes its name when it is whole; an interrupted one is left out."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.stem}.{uuid4().hex}{PARTIAL}{path.suffix}')
    writer = FilmWriter(partial, fps)
    try:
        yield writer
        if writer.close():
            partial.replace(path)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)
