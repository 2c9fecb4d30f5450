"""Things of ten ImageNet classes, told by their shape alone.

Each picture shows one thing, in any colours, somewhere, at some size and tilt, on a textured ground
with scraps of other shapes behind it and sometimes one before it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .canvas import Canvas


def draw_object(rng: Generator, draw: Callable) -> Canvas:
    """A picture of 80 to 140 pixels a side of one thing, drawn by a value of `OBJECTS`."""
    sides = rng.integers(80, 110) * rng.permutation([1, rng.uniform(1, 1.3)])
    canvas = Canvas(rng, *sides.astype(int).tolist())
    canvas.paint(canvas.x >= 0, canvas.texture(_ANY, grain=rng.uniform(0.3, 1.2), cell=12))
    for _ in range(rng.integers(2, 7)):
        _scrap(canvas, rng.uniform(3, 22))
    draw(_Frame(canvas), rng)
    if rng.random() < 0.3:
        _scrap(canvas, rng.uniform(3, 10))
    return canvas


class _Frame:
    """A tilted, stretched frame in which a thing reaches from about -1 to 1; v points down.

    Attributes:
        u: The first coordinate of each pixel, (H, W).
        v: The second.
        light: How bright each pixel is lit, (H, W, 1).
    """

    def __init__(self, canvas: Canvas) -> None:
        rng = canvas.rng
        self.canvas = canvas
        short = min(canvas.height, canvas.width)
        size = short * rng.uniform(0.25, 0.4)
        # Inside of the square in the middle, which is what a test looks at.
        centre_x, centre_y = (
            side / 2 + short * rng.uniform(-0.12, 0.12) for side in (canvas.width, canvas.height)
        )
        tilt, aspect = rng.normal(0, 0.2), np.exp(rng.normal(0, 0.1))
        mirror = rng.choice([-1, 1])
        x, y = (canvas.x - centre_x) / size, (canvas.y - centre_y) / size
        self.u = mirror * (x * np.cos(tilt) + y * np.sin(tilt)) * aspect
        self.v = (y * np.cos(tilt) - x * np.sin(tilt)) / aspect
        lit = rng.uniform(0, 2 * np.pi)
        self.light = 1 + 0.25 * (x * np.cos(lit) + y * np.sin(lit))[..., None]
        self.colours = iter(_palette(rng, bright_first=canvas.rgb.mean() < 128))

    def colour(self) -> NDArray:
        """The next colour of the thing, (3,); the first one stands out from the ground."""
        return next(self.colours)

    def fill(self, mask: NDArray, colour: NDArray) -> None:
        """Paint a mask (H, W) in a colour (3,) under the frame's light."""
        self.canvas.paint(mask, colour * self.light)

    def disc(self, u: float, v: float, radius_u: float, radius_v: float | None = None) -> NDArray:
        """An ellipse, (H, W)."""
        radius_v = radius_u if radius_v is None else radius_v
        return ((self.u - u) / radius_u) ** 2 + ((self.v - v) / radius_v) ** 2 < 1

    def box(self, left: float, top: float, right: float, bottom: float) -> NDArray:
        """A rectangle, (H, W)."""
        return (self.u >= left) & (self.u < right) & (self.v >= top) & (self.v < bottom)

    def rod(self, start: tuple, end: tuple, radius: float) -> NDArray:
        """A stroke with round ends, (H, W)."""
        start, along = np.array(start), np.subtract(end, start)
        u, v = self.u - start[0], self.v - start[1]
        t = ((u * along[0] + v * along[1]) / (along @ along)).clip(0, 1)
        return np.hypot(u - t * along[0], v - t * along[1]) < radius


def _starfish(frame: _Frame, rng: Generator) -> None:
    angle = np.arctan2(frame.v, frame.u) + rng.uniform(0, 2 * np.pi)
    waist = rng.uniform(0.32, 0.45)
    arm = np.abs((angle * 5 / (2 * np.pi)) % 1 - 0.5) * 2  # 1 on the middle line of an arm
    reach = waist + (1 - waist) * arm ** rng.uniform(1.2, 2.0)
    radius = np.hypot(frame.u, frame.v)
    frame.fill(radius < reach, frame.colour())
    frame.fill((radius < 0.75 * reach) & (arm > 0.85), frame.colour())


def _analog_clock(frame: _Frame, rng: Generator) -> None:
    radius = np.hypot(frame.u, frame.v)
    face, ink = frame.colour(), frame.colour()
    frame.fill(radius < 1, ink)
    frame.fill(radius < rng.uniform(0.82, 0.9), face)
    for hour in range(12):
        way = np.array([np.sin(hour * np.pi / 6), np.cos(hour * np.pi / 6)])
        frame.fill(frame.rod(tuple(0.62 * way), tuple(0.72 * way), 0.05), ink)
    for length, width in ((0.62, 0.05), (0.4, 0.08)):
        turn = rng.uniform(0, 2 * np.pi)
        frame.fill(frame.rod((0, 0), (length * np.sin(turn), length * np.cos(turn)), width), ink)


def _bow_tie(frame: _Frame, rng: Generator) -> None:
    half, pinch = rng.uniform(0.5, 0.7), rng.uniform(0.12, 0.2)
    wings = (np.abs(frame.u) < 1) & (np.abs(frame.v) < pinch + (half - pinch) * np.abs(frame.u))
    frame.fill(wings, frame.colour())
    frame.fill(frame.box(-0.2, -pinch - 0.1, 0.2, pinch + 0.1), frame.colour())


def _coffee_mug(frame: _Frame, rng: Generator) -> None:
    body, inside = frame.colour(), frame.colour()
    half, top = rng.uniform(0.5, 0.65), rng.uniform(-0.85, -0.65)
    reach = rng.uniform(0.28, 0.38)
    ring = frame.disc(half, 0, reach + 0.1, 0.5) & ~frame.disc(half, 0, reach - 0.08, 0.32)
    frame.fill(ring, body)
    frame.fill(frame.box(-half, top, half, 0.75) | frame.disc(0, 0.75, half, 0.15), body)
    frame.fill(frame.disc(0, top, half, 0.18), 0.8 * body)
    frame.fill(frame.disc(0, top, half - 0.08, 0.12), inside)


def _dumbbell(frame: _Frame, rng: Generator) -> None:
    weight, bar = frame.colour(), frame.colour()
    frame.fill(frame.box(-0.7, -0.1, 0.7, 0.1), bar)
    for inner, half in ((0.42, rng.uniform(0.5, 0.65)), (0.68, rng.uniform(0.35, 0.48))):
        side = (np.abs(frame.u) > inner) & (np.abs(frame.u) < inner + 0.22)
        frame.fill(side & (np.abs(frame.v) < half), weight)
        weight = 0.85 * weight


def _hourglass(frame: _Frame, rng: Generator) -> None:
    wood, glass, sand = frame.colour(), frame.colour(), frame.colour()
    height, width = np.abs(frame.v), rng.uniform(0.5, 0.62)
    bulbs = np.abs(frame.u) < 0.07 + width * np.sin((height / 0.85).clip(0, 1) * np.pi / 2) ** 2
    inside = bulbs & (height < 0.82)
    frame.fill(inside, glass)
    level = rng.uniform(0.2, 0.6)
    frame.fill(inside & ((frame.v > level) | ((frame.v < 0) & (frame.v > -level))), sand)
    frame.fill((np.abs(frame.u) < width + 0.16) & (height > 0.8) & (height < 1), wood)
    posts = np.abs(np.abs(frame.u) - width - 0.06) < 0.05
    frame.fill(posts & (height < 0.85), wood)


def _sunglasses(frame: _Frame, rng: Generator) -> None:
    rim, lens = frame.colour(), frame.colour()
    wide, high = rng.uniform(0.38, 0.46), rng.uniform(0.28, 0.4)
    for side in (-1, 1):
        frame.fill(frame.rod((side * 0.85, -0.15), (side * 1.02, -0.4), 0.07), rim)
        frame.fill(frame.disc(side * 0.52, 0, wide, high), rim)
        frame.fill(frame.disc(side * 0.52, 0, wide - 0.08, high - 0.08), lens)
    frame.fill(frame.rod((-0.2, -0.1), (0.2, -0.1), 0.06), rim)


def _umbrella(frame: _Frame, rng: Generator) -> None:
    cloth, stick = frame.colour(), frame.colour()
    frame.fill(frame.rod((0, -0.85), (0, 0.8), 0.05), stick)
    hook = frame.disc(0.15, 0.8, 0.2, 0.2) & ~frame.disc(0.15, 0.8, 0.11, 0.11)
    frame.fill(hook & (frame.v > 0.8), stick)
    count = rng.integers(3, 6)
    rise = 0.12 * np.abs(np.sin((frame.u + 1) / 2 * np.pi * count))
    high = rng.uniform(0.65, 0.85)
    dome = frame.disc(0, 0.05, 1, high) & (frame.v < 0.05 - rise)
    panels = np.sin(np.arcsin(frame.u.clip(-1, 1)) * count) > 0
    frame.fill(dome, cloth)
    frame.fill(dome & panels, 0.75 * cloth)


def _traffic_light(frame: _Frame, rng: Generator) -> None:
    case, post = frame.colour(), frame.colour()
    half = rng.uniform(0.3, 0.42)
    frame.fill(frame.box(-0.08, 0.5, 0.08, 1.4), post)
    frame.fill(frame.box(-half, -0.95, half, 0.85), case)
    lit = rng.integers(3)
    for place in range(3):
        lamp = frame.disc(0, -0.62 + 0.56 * place, 0.78 * min(half, 0.3))
        colour = frame.colour()
        frame.fill(lamp, colour if place == lit else 0.4 * colour)


def _mushroom(frame: _Frame, rng: Generator) -> None:
    cap, stem, dots = frame.colour(), frame.colour(), frame.colour()
    width = rng.uniform(0.2, 0.32)
    frame.fill(
        (np.abs(frame.u) < width + 0.1 * frame.v) & (frame.v > -0.1) & (frame.v < 0.95), stem
    )
    high = rng.uniform(0.65, 0.9)
    bonnet = (frame.disc(0, 0, 0.95, high) & (frame.v < 0)) | frame.disc(0, 0, 0.95, 0.18)
    frame.fill(bonnet, cap)
    for _ in range(rng.integers(0, 6)):
        dot = frame.disc(rng.uniform(-0.6, 0.6), rng.uniform(-0.6, -0.05), rng.uniform(0.07, 0.14))
        frame.fill(dot & bonnet, dots)


# By ImageNet's names of the classes (WordNet's offsets).
OBJECTS = {
    'n02317335': _starfish,
    'n02708093': _analog_clock,
    'n02883205': _bow_tie,
    'n03063599': _coffee_mug,
    'n03255030': _dumbbell,
    'n03544143': _hourglass,
    'n04356056': _sunglasses,
    'n04507155': _umbrella,
    'n06874185': _traffic_light,
    'n07734744': _mushroom,
}
_ANY = [(128, 128, 128), (70, 90, 70), (190, 180, 160), (80, 90, 120), (150, 100, 80), (60, 60, 60)]


def _palette(rng: Generator, bright_first: bool) -> NDArray:
    """Six colours (6, 3), bright and dark in turns."""
    colours = rng.uniform(120, 245, (6, 3))
    colours[int(bright_first) :: 2] *= 0.4
    return colours


def _scrap(canvas: Canvas, size: float) -> None:
    """A box, disc or stroke that is no part of a thing."""
    rng = canvas.rng
    x, y = rng.uniform(0, canvas.width), rng.uniform(0, canvas.height)
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.15, 1)
    across = (canvas.x - x) * np.cos(turn) + (canvas.y - y) * np.sin(turn)
    along = (canvas.y - y) * np.cos(turn) - (canvas.x - x) * np.sin(turn)
    if rng.random() < 0.5:
        mask = (np.abs(across) < size) & (np.abs(along) < size * flat)
    else:
        mask = (across / size) ** 2 + (along / (size * flat)) ** 2 < 1
    canvas.paint(mask, rng.uniform(20, 235, 3))
