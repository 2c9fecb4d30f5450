"""A picture and what is seen where in it, painted together, back to front.

All embedded data sets are drawn with it: label maps, instance masks and boxes are read off what was
painted, so that they belong to the picture to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image


class Canvas:
    """A picture under the brush; what is painted later hides what was there.

    Args:
        rng: Draws every random number of the picture.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Attributes:
        x: The column of each pixel, float32 (H, W).
        y: The row of each pixel, float32 (H, W).
        rgb: Colours from 0 to 255, before light and noise, float32 (H, W, 3).
        kinds: What is seen at each pixel, an index into `names`; 0 is nothing with a name, (H, W).
        names: The names that were painted; the first stands for "no name".
        things: Which thing is seen at each pixel, as `new_thing` counts; 0 is none, (H, W).
        thing_names: What each of the things is, the first one's name first.
    """

    def __init__(self, rng: Generator, height: int = 128, width: int = 160) -> None:
        self.rng = rng
        self.height, self.width = height, width
        self.y, self.x = np.mgrid[:height, :width].astype(np.float32)
        self.rgb = np.zeros((height, width, 3), np.float32)
        self.kinds = np.zeros((height, width), np.uint8)
        self.names: list[str | None] = [None]
        self.things = np.zeros((height, width), np.uint8)
        self.thing_names: list[str] = []

    def new_thing(self, name: str) -> int:
        """The number of another thing (a car, a person) of this name, to be painted with."""
        self.thing_names.append(name)
        return len(self.thing_names)

    def paint(
        self,
        mask: NDArray[np.bool_],
        colour: NDArray | Sequence[float],
        name: str | None = None,
        thing: int = 0,
    ) -> None:
        """Fill a mask (H, W).

        Args:
            mask: Where to paint.
            colour: A colour (3,) or a texture (H, W, 3), from 0 to 255.
            name: What is painted; None is clutter without a name. A thing has its own name.
            thing: Its number, from `new_thing`; 0 if it is none.
        """
        self.rgb[mask] = np.broadcast_to(colour, self.rgb.shape)[mask]
        self.things[mask] = thing
        name = self.thing_names[thing - 1] if thing else name
        if name not in self.names:
            self.names.append(name)
        self.kinds[mask] = self.names.index(name)

    def noise(self, cell: int) -> NDArray:
        """Smooth noise in [0, 1] (H, W) whose bumps are `cell` pixels wide."""
        size = (self.width // cell + 2, self.height // cell + 2)
        small = Image.fromarray(self.rng.random(size[::-1], np.float32))
        large = small.resize((self.width, self.height), Image.Resampling.BICUBIC)
        return np.asarray(large).clip(0, 1)

    def texture(self, palette: list, grain: float, cell: int = 6) -> NDArray:
        """A colour near one of the palette, mottled at two scales, (H, W, 3)."""
        base = np.array(palette[self.rng.integers(len(palette))]) + self.rng.normal(0, 12, 3)
        mottle = 0.6 * self.noise(cell) + 0.4 * self.noise(2) - 0.5
        return base + 70 * grain * mottle[..., None]

    def box(self, left: float, top: float, right: float, bottom: float) -> NDArray[np.bool_]:
        """The mask (H, W) of an upright rectangle."""
        return (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)

    def disc(self, x: float, y: float, radius_x: float, radius_y: float) -> NDArray[np.bool_]:
        """The mask (H, W) of an upright ellipse."""
        return ((self.x - x) / radius_x) ** 2 + ((self.y - y) / radius_y) ** 2 < 1

    def picture(self) -> NDArray[np.uint8]:
        """The painted picture (H, W, 3) under some light, as a camera would record it."""
        light = self.rng.uniform(0.7, 1.2) * self.rng.normal(1, 0.05, 3)
        recorded = self.rgb * light + self.rng.normal(0, 6, self.rgb.shape)
        return recorded.clip(0, 255).astype(np.uint8)

    def labels(self, numbers: dict[str, int]) -> NDArray[np.uint8]:
        """A label map (H, W): the number of each name; 0 where a name has none."""
        return np.array([numbers.get(name, 0) for name in self.names], np.uint8)[self.kinds]
