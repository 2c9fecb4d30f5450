"""Street scenes, for segmentation (`draw_street`) and detection (`draw_traffic`).

Every scene is composed anew (horizon, light, weather, shapes, colours, textures). No class is told
by colour alone: houses, cars and buses come in any colour, mountains may be green and roads brown.
Poles, signs and rocks are clutter that stays unlabelled.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .canvas import Canvas

STUFF = ('sky', 'mountain', 'grass', 'road', 'building', 'tree')


def draw_street(rng: Generator) -> Canvas:
    """A street with many small cars and trees: `STUFF` and cars."""
    scene = Canvas(rng)
    horizon, road = _landscape(scene)
    for _ in range(rng.integers(1, 4)):
        _building(scene, horizon)
    for depth in np.sort(rng.uniform(0.05, 0.9, rng.integers(4, 9))):  # far things first
        thing = rng.choice(['tree', 'tree', 'car', 'car', 'clutter'])
        {'tree': _tree, 'car': _car, 'clutter': _clutter}[thing](scene, horizon, depth, road)
    return scene


def draw_traffic(rng: Generator) -> Canvas:
    """A street with few large things that hide each other: `STUFF`, and things as COCO names
    them (car, bus, traffic light, stop sign)."""
    scene = Canvas(rng)
    horizon, road = _landscape(scene)
    for _ in range(rng.integers(0, 3)):
        _building(scene, horizon)
    for depth in np.sort(rng.uniform(0.05, 0.6, rng.integers(0, 4))):
        _tree(scene, horizon, depth, road)
    for depth in np.sort(rng.uniform(0.25, 0.9, rng.integers(1, 4))):
        kind = rng.choice(['car', 'car', 'bus', 'traffic light', 'stop sign', 'clutter'])
        if kind == 'car':
            _car(scene, horizon, depth, road, scale=1.5)
        else:
            {'bus': _bus, 'traffic light': _traffic_light, 'stop sign': _stop_sign,
             'clutter': _clutter}[kind](scene, horizon, depth, road)  # fmt: skip
    return scene


_GREENS = [(88, 130, 60), (120, 140, 60), (140, 130, 70), (70, 110, 60)]
_LEAVES = [(40, 90, 40), (60, 100, 40), (90, 80, 30), (110, 90, 30)]
_ROCKS = [(110, 110, 130), (120, 100, 90), (90, 110, 100), (130, 130, 150)]
_ASPHALT = [(90, 90, 95), (120, 115, 110), (105, 95, 85), (70, 72, 80)]
_WALLS = [(170, 90, 70), (190, 170, 140), (140, 140, 150), (110, 130, 160), (200, 190, 120)]
_SKIES = [((90, 140, 220), (190, 215, 240)), ((150, 160, 175), (205, 208, 212)),
          ((90, 90, 150), (240, 180, 130))]  # fmt: skip
_RUBBER, _GLASS, _METAL = (25.0, 25, 28), (60.0, 75, 90), (95.0, 95, 100)


def _landscape(scene: Canvas) -> tuple[int, tuple[float, float, float]]:
    """Paint what lies behind all things; return the row of the horizon, and the road."""
    horizon = int(scene.height * scene.rng.uniform(0.35, 0.55))
    _sky(scene)
    _mountains(scene, horizon)
    scene.paint(scene.y >= horizon, scene.texture(_GREENS, grain=1.0), 'grass')
    return horizon, _road(scene, horizon)


def _sky(scene: Canvas) -> None:
    top, bottom = (np.array(c) for c in _SKIES[scene.rng.integers(len(_SKIES))])
    height = (scene.y / (0.6 * scene.height)).clip(0, 1)[..., None]
    clouds = ((scene.noise(24) - 0.55) * 3).clip(0, 0.8)[..., None]
    colour = (top * (1 - height) + bottom * height) * (1 - clouds) + 240 * clouds
    scene.paint(scene.y >= 0, colour, 'sky')


def _mountains(scene: Canvas, horizon: int) -> None:
    if scene.rng.random() < 0.25:
        return
    ridge = sum(
        scene.rng.uniform(0.2, 1) / k * np.sin(scene.x * k / 18 + scene.rng.uniform(0, 6.3))
        for k in (1, 2, 5)
    )
    ridge = horizon - horizon * (0.35 + 0.2 * ridge)
    rock = scene.texture(_ROCKS, grain=0.7, cell=10)
    snow = (scene.y < ridge + 6)[..., None] & (scene.rng.random() < 0.5)
    scene.paint((scene.y >= ridge) & (scene.y < horizon), np.where(snow, 235, rock), 'mountain')


def _road(scene: Canvas, horizon: int) -> tuple[float, float, float]:
    """Paint the road; return where it vanishes, where its middle leaves below, half its width."""
    rng, width = scene.rng, scene.width
    vanish, middle = width * rng.uniform(0.3, 0.7), width * rng.uniform(0.3, 0.7)
    half = width * rng.uniform(0.25, 0.4)
    near = ((scene.y - horizon) / (scene.height - horizon)).clip(0, 1)
    across = (scene.x - vanish - (middle - vanish) * near) / (half * near + 1e-3)
    on_road = (np.abs(across) < 1) & (near > 0)
    scene.paint(on_road, scene.texture(_ASPHALT, grain=0.3, cell=3), 'road')
    dashes = (np.abs(across) < 0.04) & (np.sin(12 / (near + 0.15)) > 0)
    scene.paint(on_road & dashes, (225.0, 225, 210), 'road')
    return vanish, middle, half


def _building(scene: Canvas, horizon: int) -> None:
    rng = scene.rng
    width, height = rng.uniform(18, 50), rng.uniform(0.4, 1.0) * horizon
    left = rng.uniform(-10, scene.width - 15)
    bottom = horizon + rng.uniform(1, 8)
    wall = scene.box(left, bottom - height, left + width, bottom)
    scene.paint(wall, scene.texture(_WALLS, grain=0.25, cell=4), 'building')
    pitch = rng.uniform(6, 10)
    u, v = (scene.x - left) % pitch / pitch, (scene.y - bottom + height) % pitch / pitch
    windows = wall & (u > 0.3) & (u < 0.75) & (v > 0.25) & (v < 0.8)
    scene.paint(windows, rng.choice([[40.0, 50, 70], [230, 220, 150], [120, 150, 180]]), 'building')


def _tree(scene: Canvas, horizon: int, depth: float, road: tuple) -> None:
    rng = scene.rng
    foot = horizon + depth * (scene.height - horizon) * 0.8
    size = 14 + 34 * depth
    x = _beside(rng, road, depth)
    trunk = scene.box(x - size * 0.07, foot - size * 0.6, x + size * 0.07, foot)
    scene.paint(trunk, rng.normal(0, 8, 3) + (85, 62, 45), 'tree')
    crown = np.zeros_like(trunk)
    for _ in range(6):
        dx, dy = rng.normal(0, 0.18, 2) * size
        crown |= scene.disc(x + dx, foot - size * 0.95 + dy, size * 0.28, size * 0.26)
    crown &= scene.noise(3) > 0.12  # some sky shows through the leaves
    scene.paint(crown, scene.texture(_LEAVES, grain=1.3, cell=3), 'tree')


def _car(scene: Canvas, horizon: int, depth: float, road: tuple, scale: float = 1.0) -> None:
    rng = scene.rng
    depth = max(depth, 0.2)
    foot = horizon + depth * (scene.height - horizon)
    x = _on(rng, road, depth, 0.6)
    length, height = scale * (12 + 36 * depth), scale * (6 + 14 * depth)
    paint, car = rng.uniform(20, 235, 3), scene.new_thing('car')
    cabin = scene.box(x - length * 0.28, foot - height * 1.15, x + length * 0.25, foot)
    body = scene.box(x - length / 2, foot - height * 0.7, x + length / 2, foot - height * 0.12)
    scene.paint(cabin | body, paint * _shade(scene, foot, height), thing=car)
    glass = scene.box(
        x - length * 0.22, foot - height * 1.02, x + length * 0.19, foot - height * 0.72
    )
    scene.paint(glass, _GLASS, thing=car)
    _wheels(scene, x, foot - height * 0.12, 0.3 * length, height * 0.24, car)


def _bus(scene: Canvas, horizon: int, depth: float, road: tuple) -> None:
    rng = scene.rng
    foot = horizon + depth * (scene.height - horizon)
    x = _on(rng, road, depth, 0.3)
    length, height = 36 + 62 * depth, 22 + 34 * depth
    paint, bus = rng.uniform(20, 235, 3), scene.new_thing('bus')
    left, top = x - length / 2, foot - height
    body = scene.box(left, top, x + length / 2, foot - height * 0.06)
    scene.paint(body, paint * _shade(scene, foot, height), thing=bus)
    pitch = length / rng.integers(4, 7)
    row = scene.box(left, top + height * 0.18, x + length / 2, top + height * 0.5)
    scene.paint(row & ((scene.x - left) % pitch > 0.2 * pitch), _GLASS, thing=bus)
    _wheels(scene, x, foot - height * 0.08, 0.33 * length, height * 0.14, bus)


def _wheels(scene: Canvas, x: float, y: float, apart: float, radius: float, thing: int) -> None:
    for side in (-apart, apart):
        scene.paint(scene.disc(x + side, y, radius, radius), _RUBBER, thing=thing)


def _traffic_light(scene: Canvas, horizon: int, depth: float, road: tuple) -> None:
    rng = scene.rng
    x, top, size = _pole(scene, horizon, depth, road, reach=2.6)
    light = scene.new_thing('traffic light')
    case = scene.box(x - size * 0.5, top, x + size * 0.5, top + size * 1.4)
    scene.paint(case, rng.choice([[35.0, 38, 35], [60, 75, 60], [200, 170, 50]]), thing=light)
    lit = rng.integers(3)
    for i, colour in enumerate([(230.0, 40, 30), (240, 190, 40), (50, 210, 110)]):
        lamp = scene.disc(x, top + size * (0.27 + 0.43 * i), size * 0.2, size * 0.2)
        scene.paint(lamp, np.array(colour) * (1 if i == lit else 0.3), thing=light)


def _stop_sign(scene: Canvas, horizon: int, depth: float, road: tuple) -> None:
    x, top, size = _pole(scene, horizon, depth, road, reach=2.2)
    sign, radius = scene.new_thing('stop sign'), size * 0.7
    dx, dy = np.abs(scene.x - x), np.abs(scene.y - top - radius)

    def octagon(radius: float) -> NDArray[np.bool_]:
        return (np.maximum(dx, dy) < radius) & (dx + dy < radius * np.sqrt(2))

    scene.paint(octagon(radius), (225.0, 225, 220), thing=sign)
    scene.paint(octagon(radius * 0.88), scene.rng.normal(0, 15, 3) + (190, 35, 40), thing=sign)
    letters = (dx < radius * 0.62) & (dy < radius * 0.24) & (dx % (radius * 0.3) > radius * 0.1)
    scene.paint(letters, (225.0, 225, 220), thing=sign)


def _pole(scene: Canvas, horizon: int, depth: float, road: tuple, reach: float) -> tuple:
    """Paint a pole beside the road, no part of a thing; return its top and the size of a sign."""
    foot = horizon + depth * (scene.height - horizon) * 0.9
    size = 10 + 22 * depth
    x = np.clip(_beside(scene.rng, road, depth), size * 0.5, scene.width - size * 0.5)
    top = max(foot - size * reach, 1)
    scene.paint(scene.box(x - 1.5, top, x + 1.5, foot), _METAL)
    return x, top, size


def _clutter(scene: Canvas, horizon: int, depth: float, road: tuple) -> None:
    rng = scene.rng
    foot, x = horizon + depth * (scene.height - horizon) * 0.9, _beside(rng, road, depth)
    size = 6 + 16 * depth
    if rng.random() < 0.5:
        rock = scene.disc(x, foot, size * 0.7, size * 0.4)
        scene.paint(rock, scene.texture(_ROCKS, grain=0.6, cell=3))
    else:
        pole = scene.box(x - 1, foot - size * 2, x + 1, foot)
        sign = scene.box(x - size * 0.4, foot - size * 2.2, x + size * 0.4, foot - size * 1.5)
        scene.paint(pole | sign, rng.uniform(40, 230, 3))


def _shade(scene: Canvas, foot: float, height: float) -> NDArray:
    """The body of a thing darkens towards its foot, (H, W, 1)."""
    return 1 - 0.25 * ((scene.y - foot + height) / height).clip(0, 1)[..., None]


def _on(rng: Generator, road: tuple, depth: float, spread: float) -> float:
    """A place on the road at this depth, up to this part of its half width from the middle."""
    vanish, middle, half = road
    return vanish + (middle - vanish) * depth + rng.uniform(-spread, spread) * half * depth


def _beside(rng: Generator, road: tuple, depth: float) -> float:
    """A place left or right of the road, at this depth."""
    vanish, middle, half = road
    centre = vanish + (middle - vanish) * depth
    return centre + rng.choice([-1, 1]) * (half * depth + rng.uniform(6, 60))
