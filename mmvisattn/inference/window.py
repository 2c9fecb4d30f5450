"""Pictures on a screen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

REST = 0.001  # seconds that a window is given to draw a frame


class Window:
    """A window with one picture at a time; in a notebook its place below the cell.

    Args:
        title: What stands above it.

    Raises:
        UserError: There is no screen.
    """

    def __init__(self, title: str) -> None:
        from matplotlib import pyplot

        if pyplot.get_backend().lower() == 'agg':  # what matplotlib falls back to
            raise UserError(
                'there is no screen to show pictures on',
                expected='a desktop, or a notebook',
                do="result.save('painted.png'), tools/predict.py --out DIR",
            )
        self._pyplot = pyplot
        self._figure, self._axis = pyplot.subplots(num=title, layout='constrained')
        self._axis.set_axis_off()
        self._image = None

    def show(self, picture: NDArray[np.uint8], wait: bool = True) -> bool:
        """Show a picture (H, W, 3), RGB.

        Args:
            picture: What to show.
            wait: Come back when the window is closed, not at once.

        Returns:
            Whether the window is still open.
        """
        if self._image is None:
            self._image = self._axis.imshow(picture)
        else:
            self._image.set_data(picture)
        if wait:
            self._pyplot.show()
            self._pyplot.close(self._figure)
        else:
            self._pyplot.pause(REST)
        return self._pyplot.fignum_exists(self._figure.number)
