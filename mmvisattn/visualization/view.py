"""A picture as a network sees it, and the way back from its maps to the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError
from ..inference import Inferencer
from ..inference.pictures import read_picture

# How far from a straight line the steps of a pipeline may move a pixel, of the picture's side.
OFF_THE_LINE = 0.02


@dataclass(frozen=True)
class View:
    """One picture, and what the pipeline of a config makes of it.

    Attributes:
        picture: The original, (H, W, 3), RGB, uint8.
        inputs: What the network reads, normalised and padded: (1, 3, h, w).
        samples: The library's data samples that go with it, one.
        to_picture: (2, 3); takes a pixel (x, y, 1) of `inputs` to (x, y) of the picture.
        content: Height and width of `inputs` without what was padded.
    """

    picture: NDArray[np.uint8]
    inputs: Tensor
    samples: list
    to_picture: NDArray[np.float64]
    content: tuple[int, int]

    @classmethod
    def of(
        cls,
        network: Inferencer,
        picture: str | Path | NDArray[np.uint8],
        box: Sequence[float] | None = None,
    ) -> View:
        """A picture as the network's test pipeline reads it.

        Args:
            network: The network.
            picture: A path, or an array (H, W, 3), RGB.
            box: (x1, y1, x2, y2) of the person whose pose is looked for; None takes the whole.

        Raises:
            UserError: No readable picture.
        """
        if not isinstance(picture, np.ndarray):
            picture = read_picture(picture)
        boxes = None if box is None else np.array([box], np.float32)

        def prepared(picture: NDArray[np.uint8]) -> dict:
            return network.prepare(picture, boxes)[0]

        data = prepared(picture)
        content = tuple(data['inputs'][0].shape[-2:])
        data = network.model.data_preprocessor(data)
        # Pipelines keep blue first.
        coordinates = lambda ramp: prepared(ramp)['inputs'][0].flip(0).numpy()  # noqa: E731
        return cls(
            picture=picture,
            inputs=data['inputs'],
            samples=list(data['data_samples']),
            to_picture=way_back(coordinates, picture.shape[:2]),
            content=content,
        )

    def samples_for(self, count: int) -> list:
        """The data samples for so many inputs like this one."""
        return [deepcopy(self.samples[0]) for _ in range(count)]

    def on_picture(self, values: NDArray, smooth: bool = False) -> NDArray[np.float32]:
        """A map (h', w') of the network over the picture: (H, W), NaN where no input was.

        Args:
            values: The map.
            smooth: Whether to interpolate between its cells; if not, they are seen as they are.
        """
        height, width = self.picture.shape[:2]
        size = tuple(self.inputs.shape[-2:])
        (sy, sx) = strides_of(values.shape, size)
        # A cell's centre lies half a stride from its corner, a pixel's half a pixel.
        cell = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
        flags = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
        heat = cv2.warpAffine(
            np.ascontiguousarray(values, np.float32),
            self.to_picture @ cell,
            (width, height),
            flags=flags,
            borderMode=cv2.BORDER_REPLICATE,
        )
        seen = np.ones(self.content, np.uint8)
        seen = cv2.warpAffine(seen, self.to_picture, (width, height), flags=cv2.INTER_NEAREST)
        return np.where(seen > 0, heat, np.nan)

    def cell_at(self, point: tuple[float, float], map_size: tuple[int, int]) -> tuple[int, int]:
        """Row and column of the cell, of a map (h', w'), over a point (x, y) of the picture.

        Raises:
            UserError: A point outside the picture, or outside what the network reads of it.
        """
        height, width = self.picture.shape[:2]
        x, y = point
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                'the point lies outside the picture',
                expected=f'x from 0 to {width - 1}, y from 0 to {height - 1}',
                got=f'{x:g} {y:g}',
            )
        column, row = np.linalg.solve(self.to_picture[:, :2], (x, y) - self.to_picture[:, 2])
        if not (-0.5 <= row < self.content[0] and -0.5 <= column < self.content[1]):
            raise UserError(
                'the network does not read this point: its test pipeline crops the picture',
                got=f'{x:g} {y:g}',
                do='take a point nearer to the centre',
            )
        strides = strides_of(map_size, tuple(self.inputs.shape[-2:]))
        cells = (
            int((at + 0.5) / stride) for at, stride in zip((row, column), strides, strict=True)
        )
        row, column = (min(max(i, 0), n - 1) for i, n in zip(cells, map_size, strict=True))
        return row, column

    def cell_outline(self, cell: tuple[int, int], map_size: tuple[int, int]) -> NDArray[np.float64]:
        """The corners of a cell of a map in the picture, (4, 2) as (x, y)."""
        strides = np.array(strides_of(map_size, tuple(self.inputs.shape[-2:])))[::-1]
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + np.array(cell)[::-1]
        return self.points_on_picture(corners * strides - 0.5)

    def points_on_picture(self, points: NDArray) -> NDArray[np.float64]:
        """Points (N, 2) of the input, as (x, y), in the picture."""
        return points @ self.to_picture[:, :2].T + self.to_picture[:, 2]


def strides_of(map_size: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    """Pixels of an input (h, w) to a cell of its map (h', w'), down and across.

    Sizes are rounded up on the way down, so that the last cells may reach over the edge.
    """
    stride = 1
    while stride <= max(size):
        if tuple(-(-n // stride) for n in size) == tuple(map_size):
            return stride, stride
        stride *= 2
    return size[0] / map_size[0], size[1] / map_size[1]


def way_back(
    pipeline: Callable[[NDArray[np.uint8]], NDArray], size: tuple[int, int]
) -> NDArray[np.float64]:
    """The (2, 3) that takes pixels behind a pipeline to those of a picture of this size before it.

    Whatever the steps are called and whatever they note of themselves, they are asked: a picture
    whose colours are its coordinates goes through, and a straight line is laid through what comes.

    Args:
        pipeline: Takes a picture (H, W, 3), gives what is read of it: (3, h, w).
        size: H and W.

    Raises:
        UserError: The steps do more than to resize, crop, pad, turn and flip.
    """
    height, width = size
    ramp = np.full((height, width, 3), 255.0)
    ramp[..., 0] = np.linspace(0, 255, width)
    ramp[..., 1] = np.linspace(0, 255, height)[:, None]
    seen = np.asarray(pipeline(np.rint(ramp).astype(np.uint8)), np.float64)
    inside = seen[2] > 254  # what is padded is not white
    rows, columns = np.nonzero(inside)
    known = np.stack([columns, rows, np.ones_like(rows)], 1)
    places = np.stack([seen[0][inside] * (width - 1), seen[1][inside] * (height - 1)], 1) / 255
    lines, *_ = np.linalg.lstsq(known, places, rcond=None)
    error = np.abs(known @ lines - places).mean(0) if len(rows) else np.inf
    if np.any(error > OFF_THE_LINE * np.array([width, height])):
        raise UserError(
            'it is not known where the pixels that the network reads lie in the picture',
            expected='a test pipeline that resizes, crops, pads, turns or flips',
            got=f'pixels {np.max(error):.1f} off a straight line',
        )
    return lines.T
