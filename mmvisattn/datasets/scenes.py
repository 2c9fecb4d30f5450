"""A small data set in the exact layout of ADE20K: street scenes, drawn from a seed.

Every scene is composed anew (horizon, light, weather, shapes, colours, textures), so train and
validation share no picture. No class is told by colour alone: houses and cars come in any colour,
mountains may be green and roads brown. Poles, signs and rocks are clutter that stays unlabelled.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError

# ADE20K's names and label numbers (0 is "not labelled").
LABELS = {'sky': 3, 'mountain': 17, 'grass': 10, 'road': 7, 'building': 2, 'tree': 5, 'car': 21}
SPLITS = ('training', 'validation')
HEIGHT, WIDTH = 128, 160


def make_ade20k(
    root: str | Path, *, num_train: int = 240, num_val: int = 40, seed: int = 0
) -> Path:
    """Write `images/{training,validation}/*.jpg` and `annotations/.../*.png` under `root`.

    The folder appears whole or not at all; one that is already there with these very scenes is
    left as it is.

    Args:
        root: The folder to make.
        num_train: Pictures to train on.
        num_val: Pictures to validate on.
        seed: Another seed, other scenes.

    Raises:
        UserError: The folder is there and holds something else.
    """
    root = Path(root)
    counts = dict(zip(SPLITS, (num_train, num_val), strict=True))
    if root.exists():
        found = {split: len(list(root.glob(f'annotations/{split}/*.png'))) for split in SPLITS}
        if found != counts or not _begins_with(root, seed):
            raise UserError(
                f'{root} is already there and holds something else',
                expected=f'{counts} scenes of seed {seed}, or no such folder',
                got=found if found != counts else 'other scenes',
                do='name another folder, or remove this one',
            )
        return root
    unfinished = root.with_name(root.name + '.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    for number, split in enumerate(SPLITS):
        images, labels = unfinished / 'images' / split, unfinished / 'annotations' / split
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for i in range(counts[split]):
            name = f'ADE_{"train" if split == "training" else "val"}_{i + 1:08d}'
            picture, label = draw_scene(np.random.default_rng([seed, number, i]))
            Image.fromarray(picture).save(images / f'{name}.jpg', quality=92)
            Image.fromarray(label).save(labels / f'{name}.png')
    unfinished.rename(root)
    return root


def _begins_with(root: Path, seed: int) -> bool:
    """Whether the first label map is the one that this seed draws."""
    first = min((root / 'annotations' / SPLITS[0]).glob('*.png'))
    labels = draw_scene(np.random.default_rng([seed, 0, 0]))[1]
    return np.array_equal(np.asarray(Image.open(first)), labels)


def draw_scene(rng: Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One picture (HEIGHT, WIDTH, 3) and its label map (HEIGHT, WIDTH) with ADE20K's numbers."""
    scene = _Canvas(rng)
    horizon = int(HEIGHT * rng.uniform(0.35, 0.55))
    _sky(scene)
    _mountains(scene, horizon)
    scene.paint(scene.y >= horizon, scene.texture(_GREENS, grain=1.0), 'grass')
    road = _road(scene, horizon)
    for _ in range(rng.integers(1, 4)):
        _building(scene, horizon)
    for depth in np.sort(rng.uniform(0.05, 0.9, rng.integers(4, 9))):  # far things first
        thing = rng.choice(['tree', 'tree', 'car', 'car', 'clutter'])
        {'tree': _tree, 'car': _car, 'clutter': _clutter}[thing](scene, horizon, depth, road)
    return scene.picture(), scene.labels


class _Canvas:
    """A picture and its labels, painted together."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.y, self.x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
        self.rgb = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        self.labels = np.zeros((HEIGHT, WIDTH), np.uint8)

    def paint(self, mask: NDArray, colour: NDArray, name: str | None) -> None:
        """Fill `mask` with a colour (3,) or texture (H, W, 3); None is clutter, not labelled."""
        self.rgb[mask] = np.broadcast_to(colour, self.rgb.shape)[mask]
        self.labels[mask] = LABELS[name] if name else 0

    def noise(self, cell: int) -> NDArray:
        """Smooth noise in [0, 1] (H, W) whose bumps are `cell` pixels wide."""
        size = (WIDTH // cell + 2, HEIGHT // cell + 2)
        small = Image.fromarray(self.rng.random(size[::-1], np.float32))
        return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).clip(0, 1)

    def texture(self, palette: list, grain: float, cell: int = 6) -> NDArray:
        """A colour near one of the palette, mottled at two scales."""
        base = np.array(palette[self.rng.integers(len(palette))]) + self.rng.normal(0, 12, 3)
        mottle = 0.6 * self.noise(cell) + 0.4 * self.noise(2) - 0.5
        return base + 70 * grain * mottle[..., None]

    def box(self, left: float, top: float, right: float, bottom: float) -> NDArray:
        return (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)

    def disc(self, x: float, y: float, radius_x: float, radius_y: float) -> NDArray:
        return ((self.x - x) / radius_x) ** 2 + ((self.y - y) / radius_y) ** 2 < 1

    def picture(self) -> NDArray[np.uint8]:
        """The painted picture under some light, as a camera would record it."""
        light = self.rng.uniform(0.7, 1.2) * self.rng.normal(1, 0.05, 3)
        recorded = self.rgb * light + self.rng.normal(0, 6, self.rgb.shape)
        return recorded.clip(0, 255).astype(np.uint8)


_GREENS = [(88, 130, 60), (120, 140, 60), (140, 130, 70), (70, 110, 60)]
_LEAVES = [(40, 90, 40), (60, 100, 40), (90, 80, 30), (110, 90, 30)]
_ROCKS = [(110, 110, 130), (120, 100, 90), (90, 110, 100), (130, 130, 150)]
_ASPHALT = [(90, 90, 95), (120, 115, 110), (105, 95, 85), (70, 72, 80)]
_WALLS = [(170, 90, 70), (190, 170, 140), (140, 140, 150), (110, 130, 160), (200, 190, 120)]
_SKIES = [((90, 140, 220), (190, 215, 240)), ((150, 160, 175), (205, 208, 212)),
          ((90, 90, 150), (240, 180, 130))]  # fmt: skip


def _sky(scene: _Canvas) -> None:
    top, bottom = (np.array(c) for c in _SKIES[scene.rng.integers(len(_SKIES))])
    height = (scene.y / (0.6 * HEIGHT)).clip(0, 1)[..., None]
    clouds = ((scene.noise(24) - 0.55) * 3).clip(0, 0.8)[..., None]
    colour = (top * (1 - height) + bottom * height) * (1 - clouds) + 240 * clouds
    scene.paint(scene.y >= 0, colour, 'sky')


def _mountains(scene: _Canvas, horizon: int) -> None:
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


def _road(scene: _Canvas, horizon: int) -> tuple[float, float, float]:
    """Paint the road; return where it vanishes, where its middle leaves below, half its width."""
    vanish, middle = WIDTH * scene.rng.uniform(0.3, 0.7), WIDTH * scene.rng.uniform(0.3, 0.7)
    half = WIDTH * scene.rng.uniform(0.25, 0.4)
    near = ((scene.y - horizon) / (HEIGHT - horizon)).clip(0, 1)
    across = (scene.x - vanish - (middle - vanish) * near) / (half * near + 1e-3)
    on_road = (np.abs(across) < 1) & (near > 0)
    scene.paint(on_road, scene.texture(_ASPHALT, grain=0.3, cell=3), 'road')
    dashes = (np.abs(across) < 0.04) & (np.sin(12 / (near + 0.15)) > 0)
    scene.paint(on_road & dashes, np.array([225.0, 225, 210]), 'road')
    return vanish, middle, half


def _building(scene: _Canvas, horizon: int) -> None:
    rng = scene.rng
    width, height = rng.uniform(18, 50), rng.uniform(0.4, 1.0) * horizon
    left = rng.uniform(-10, WIDTH - 15)
    bottom = horizon + rng.uniform(1, 8)
    wall = scene.box(left, bottom - height, left + width, bottom)
    scene.paint(wall, scene.texture(_WALLS, grain=0.25, cell=4), 'building')
    pitch = rng.uniform(6, 10)
    u, v = (scene.x - left) % pitch / pitch, (scene.y - bottom + height) % pitch / pitch
    windows = wall & (u > 0.3) & (u < 0.75) & (v > 0.25) & (v < 0.8)
    scene.paint(windows, rng.choice([[40.0, 50, 70], [230, 220, 150], [120, 150, 180]]), 'building')


def _tree(scene: _Canvas, horizon: int, depth: float, road: tuple) -> None:
    rng = scene.rng
    foot = horizon + depth * (HEIGHT - horizon) * 0.8
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


def _car(scene: _Canvas, horizon: int, depth: float, road: tuple) -> None:
    rng = scene.rng
    vanish, middle, half = road
    depth = max(depth, 0.2)
    foot = horizon + depth * (HEIGHT - horizon)
    x = vanish + (middle - vanish) * depth + rng.uniform(-0.6, 0.6) * half * depth
    length, height = 12 + 36 * depth, 6 + 14 * depth
    paint = rng.uniform(20, 235, 3)
    cabin = scene.box(x - length * 0.28, foot - height * 1.15, x + length * 0.25, foot)
    body = scene.box(x - length / 2, foot - height * 0.7, x + length / 2, foot - height * 0.12)
    shade = 1 - 0.25 * ((scene.y - foot + height) / height).clip(0, 1)[..., None]
    scene.paint(cabin | body, paint * shade, 'car')
    glass = scene.box(
        x - length * 0.22, foot - height * 1.02, x + length * 0.19, foot - height * 0.72
    )
    scene.paint(glass, np.array([60.0, 75, 90]), 'car')
    for side in (-0.3, 0.3):
        wheel = scene.disc(x + side * length, foot - height * 0.12, height * 0.24, height * 0.24)
        scene.paint(wheel, np.array([25.0, 25, 28]), 'car')


def _clutter(scene: _Canvas, horizon: int, depth: float, road: tuple) -> None:
    rng = scene.rng
    foot, x = horizon + depth * (HEIGHT - horizon) * 0.9, _beside(rng, road, depth)
    size = 6 + 16 * depth
    if rng.random() < 0.5:
        rock = scene.disc(x, foot, size * 0.7, size * 0.4)
        scene.paint(rock, scene.texture(_ROCKS, grain=0.6, cell=3), None)
    else:
        pole = scene.box(x - 1, foot - size * 2, x + 1, foot)
        sign = scene.box(x - size * 0.4, foot - size * 2.2, x + size * 0.4, foot - size * 1.5)
        scene.paint(pole | sign, rng.uniform(40, 230, 3), None)


def _beside(rng: Generator, road: tuple, depth: float) -> float:
    """A place left or right of the road, at this depth."""
    vanish, middle, half = road
    centre = vanish + (middle - vanish) * depth
    return centre + rng.choice([-1, 1]) * (half * depth + rng.uniform(6, 60))
