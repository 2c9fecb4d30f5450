"""Pictures from files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError


def read_picture(path: str | Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3), RGB.

    Raises:
        UserError: It is not there or cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(f'no such picture: {path}')
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise UserError(f'{path} is no picture that OpenCV reads')
    return np.ascontiguousarray(bgr[..., ::-1])
