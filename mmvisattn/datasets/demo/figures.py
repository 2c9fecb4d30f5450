"""People with the 17 keypoints of COCO: jointed figures in space, seen from any side.

A figure is posed in its own frame, turned, and painted part by part, the nearest last; a keypoint
is visible where what was painted last at its pixel is a part of the body that it lies on. Left and
right are told by the face, and by its absence from behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .canvas import Canvas

SIDES = {'left': 1, 'right': -1}
# COCO's order: the head from the nose outwards, then pairs downwards.
KEYPOINTS = (
    'nose',
    *(f'{side}_{part}' for part in ('eye', 'ear', 'shoulder', 'elbow', 'wrist') for side in SIDES),
    *(f'{side}_{part}' for part in ('hip', 'knee', 'ankle') for side in SIDES),
)
# COCO's pairs of keypoints to draw lines between, counted from 1.
SKELETON = [
    [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9],
    [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
]  # fmt: skip

# Of a figure with less of its pixels left than this, too little is seen to tell the pose.
LEAST_SEEN = 0.4
OUTSIDE, OCCLUDED, VISIBLE = 0, 1, 2

# A keypoint is seen on these parts.
_ON = {
    'shoulder': ('torso', 'upper_arm'),
    'elbow': ('upper_arm', 'forearm'),
    'wrist': ('forearm', 'hand'),
    'hip': ('torso', 'thigh'),
    'knee': ('thigh', 'shank'),
    'ankle': ('shank', 'foot'),
}
# Limbs: from joint, to joint, radius there and there, what they are clad in. Heights are 1.
_LIMBS = {
    'upper_arm': ('shoulder', 'elbow', 0.034, 0.026, 'sleeve'),
    'forearm': ('elbow', 'wrist', 0.025, 0.019, 'skin'),
    'hand': ('wrist', 'fingers', 0.022, 0.018, 'skin'),
    'thigh': ('hip', 'knee', 0.050, 0.036, 'trousers'),
    'shank': ('knee', 'ankle', 0.035, 0.023, 'leg'),
    'foot': ('ankle', 'toes', 0.024, 0.020, 'shoe'),
}
# Directions on the head, right (of the viewer before it), down and forward; its radius is 1.
_FACE = {
    'nose': (0.0, 0.18, 1.05),
    'left_eye': (0.40, -0.12, 0.90),
    'right_eye': (-0.40, -0.12, 0.90),
    'left_ear': (1.02, 0.05, 0.0),
    'right_ear': (-1.02, 0.05, 0.0),
}
_HEAD = np.array([0.058, 0.072])  # its radii: across, down
_DARK = np.array([25.0, 22, 22])
_SKIN = [(238, 200, 170), (215, 165, 125), (165, 115, 80), (110, 75, 52)]
_HAIR = [(35, 28, 25), (90, 60, 35), (190, 150, 80), (130, 125, 120), (150, 70, 35)]
_WALLS = [(190, 180, 165), (150, 165, 180), (120, 140, 120), (205, 200, 195), (165, 130, 110)]
_FLOORS = [(120, 100, 80), (110, 115, 110), (95, 125, 75), (150, 140, 125)]


def draw_people(rng: Generator) -> tuple[Canvas, list[NDArray[np.int64]]]:
    """One to three people before a wall, with clutter behind, between and before them.

    Returns:
        The canvas, on which each person is a thing, and for each in their order its keypoints
        (17, 3): column, row and visibility in COCO's numbers (0 with place 0, 0: outside the
        picture; 1: hidden; 2: seen). All are 0 of a person of whom too little is seen.
    """
    scene = Stage(rng)
    horizon = scene.height * rng.uniform(0.3, 0.7)
    scene.paint(scene.y < horizon, scene.texture(_WALLS, grain=0.5, cell=16))
    scene.paint(scene.y >= horizon, scene.texture(_FLOORS, grain=0.7, cell=8))
    for _ in range(rng.integers(2, 6)):
        across, foot = rng.uniform(0, scene.width), horizon + rng.uniform(-25, 10)
        _clutter(scene, across, foot, size=rng.uniform(8, 40))
    count = rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25])
    figures = []
    slots = rng.permutation(count)
    heights = np.sort(rng.uniform(58, 118, count))  # far ones first
    for slot, height in zip(slots, heights, strict=True):
        middle = scene.width * np.clip((slot + rng.normal(0.5, 0.3)) / count, 0.04, 0.96)
        ground = scene.height * rng.uniform(0.9, 1.05) - 0.3 * (118 - height)
        figures.append(Figure(scene, middle, ground, height))
        if rng.random() < 0.35:
            across, foot = middle + height * rng.normal(0, 0.25), ground + rng.uniform(2, 8)
            _clutter(scene, across, foot, size=height * rng.uniform(0.12, 0.3))
    return scene, [figure.keypoints() for figure in figures]


class Stage(Canvas):
    """A canvas that remembers which part of a body is seen where.

    Attributes:
        parts: The part seen at each pixel, an index into `part_names`; 0 is none, (H, W).
    """

    def __init__(self, rng: Generator) -> None:
        super().__init__(rng)
        self.parts = np.zeros((self.height, self.width), np.uint8)
        self.part_names = ['']

    def paint(
        self,
        mask: NDArray[np.bool_],
        colour: NDArray | Sequence[float],
        name: str | None = None,
        thing: int = 0,
        part: str = '',
    ) -> None:
        """Fill a mask (H, W), as a canvas does, with a part of the thing."""
        super().paint(mask, colour, name, thing)
        if part not in self.part_names:
            self.part_names.append(part)
        self.parts[mask] = self.part_names.index(part)

    def rod(self, start: NDArray, end: NDArray, thick: float, thin: float) -> tuple:
        """A tapered limb: its mask (H, W), and 0 to 1 from its middle line to its rim, (H, W)."""
        along = (end - start)[:2]
        x, y = self.x - start[0], self.y - start[1]
        t = ((x * along[0] + y * along[1]) / max(along @ along, 1e-6)).clip(0, 1)
        radius = np.maximum(thick + (thin - thick) * t, 0.9)  # so that no limb falls between pixels
        off = np.hypot(x - t * along[0], y - t * along[1]) / radius
        return off < 1, off.clip(0, 1)


class Figure:
    """One person, posed, dressed and painted.

    Args:
        scene: What to paint on.
        middle: The column of the middle of the hips.
        ground: The row of the lower ankle.
        height: From head to heels when upright, in pixels.
    """

    def __init__(self, scene: Stage, middle: float, ground: float, height: float) -> None:
        rng = scene.rng
        self.scene, self.height = scene, height
        self.thing = scene.new_thing('person')
        self.painted = np.zeros(scene.things.shape, bool)
        self.build = rng.uniform(0.9, 1.25)
        self.head_radii = _HEAD * rng.uniform(0.95, 1.25)
        yaw = _facing(rng)
        self.head_turn = _turn(yaw + rng.normal(0, 0.25), rng.normal(0, 0.12))
        body_turn = _turn(yaw, rng.normal(0, 0.08))
        posed = {name: body_turn @ point for name, point in _pose(rng).items()}
        down = max(posed[f'{side}_ankle'][1] for side in SIDES)
        hips = np.array([middle, ground - height * down, 0])
        self.at = {name: hips + height * point for name, point in posed.items()}
        for name, way in _FACE.items():
            self.at[name] = self.at['head'] + height * self._on_head(way)
        self._paint(_dress(rng))

    def keypoints(self) -> NDArray[np.int64]:
        """Column, row and visibility of the 17 keypoints, (17, 3), once all is painted."""
        seen = (self.scene.things == self.thing).sum()
        if seen < LEAST_SEEN * self.painted.sum():
            return np.zeros((len(KEYPOINTS), 3), np.int64)
        return np.array([self._keypoint(name) for name in KEYPOINTS])

    def _keypoint(self, name: str) -> tuple[int, int, int]:
        x, y = (int(v) for v in np.rint(self.at[name][:2]))
        if not (0 <= x < self.scene.width and 0 <= y < self.scene.height):
            return 0, 0, OUTSIDE
        return x, y, VISIBLE if self._is_seen(name, x, y) else OCCLUDED

    def _is_seen(self, name: str, x: int, y: int) -> bool:
        """Whether what is seen at the keypoint's pixel is what it lies on, and from its side."""
        if self.scene.things[y, x] != self.thing:
            return False
        part = self.scene.part_names[self.scene.parts[y, x]]
        if name in _FACE:
            return part == 'head' and not self._turned_away(name)
        side, joint = name.split('_')
        if part == 'torso':
            behind = self.at[name][2] < -0.05 * self.height
            return 'torso' in _ON[joint] and not behind
        return part in [f'{side}_{limb}' for limb in _ON[joint]]

    def _turned_away(self, name: str) -> bool:
        """Whether a place on the head lies on its far side, beyond the rim."""
        return (self.at[name] - self.at['head'])[2] < -0.2 * self.head_radii[0] * self.height

    def _on_head(self, way: tuple) -> NDArray:
        """From the middle of the head to a place on it, (3,), in heights."""
        across, down = self.head_radii
        return self.head_turn @ (np.array(way) * [across, down, across])

    def _paint(self, dress: dict[str, NDArray]) -> None:
        """Paint all parts, the farthest first."""
        limbs = [(side, limb) for side in SIDES for limb in _LIMBS]
        strokes = [
            (self._depth(*limb), lambda limb=limb: self._limb(*limb, dress)) for limb in limbs
        ]
        strokes.append((0.0, lambda: self._torso(dress)))
        strokes.append((self.at['head'][2] + 0.02 * self.height, lambda: self._head(dress)))
        for _, stroke in sorted(strokes, key=lambda s: s[0]):
            stroke()

    def _depth(self, side: str, limb: str) -> float:
        """How near the middle of a limb is; arms beside the body hang a little before it."""
        start, end, *_ = _LIMBS[limb]
        before = 0.03 if limb in ('upper_arm', 'forearm', 'hand') else -0.01
        nearness = self.at[f'{side}_{start}'][2] + self.at[f'{side}_{end}'][2]
        return nearness / 2 + before * self.height

    def _fill(self, mask: NDArray, colour: NDArray, part: str) -> None:
        self.painted |= mask
        self.scene.paint(mask, colour, thing=self.thing, part=part)

    def _limb(self, side: str, limb: str, dress: dict[str, NDArray]) -> None:
        start, end, *radii, cloth = _LIMBS[limb]
        thick, thin = (self.build * self.height * radius for radius in radii)
        mask, off = self.scene.rod(
            self.at[f'{side}_{start}'], self.at[f'{side}_{end}'], thick, thin
        )
        self._fill(mask, dress[cloth] * _round(off), f'{side}_{limb}')

    def _torso(self, dress: dict[str, NDArray]) -> None:
        thick = 0.058 * self.build * self.height
        neck, head = self.at['neck'], self.at['head']
        self._fill(self.scene.rod(neck, head, thick / 2, thick / 2)[0], 0.8 * dress['skin'], 'neck')
        for down in np.linspace(1, 0, 7):
            left, right = (
                self.at[f'{side}_shoulder'] * (1 - down) + self.at[f'{side}_hip'] * down
                for side in SIDES
            )
            inset = 0.25 * (right - left)  # round shoulders
            mask, off = self.scene.rod(left + inset, right - inset, thick * 1.25, thick * 1.25)
            cloth = 'trousers' if down == 1 else 'shirt'
            self._fill(mask, dress[cloth] * _round(0.7 * off), 'torso')

    def _head(self, dress: dict[str, NDArray]) -> None:
        """A ball with hair above and behind, and on the other side a face."""
        across, down = self.head_radii * self.height
        x, y = (
            (self.scene.x - self.at['head'][0]) / across,
            (self.scene.y - self.at['head'][1]) / down,
        )
        near = np.sqrt((1 - x**2 - y**2).clip(0, 1))
        _, own_y, own_z = np.einsum('ij,ihw->jhw', self.head_turn, np.stack([x, y, near]))
        hair = own_z + 0.8 * own_y < 0.1
        colour = np.where(hair[..., None], dress['hair'], dress['skin']) * _round(np.hypot(x, y))
        ears = sorted(SIDES, key=lambda side: self.at[f'{side}_ear'][2])
        self._spot(f'{ears[0]}_ear', 0.018, dress['skin'])
        self._fill(x**2 + y**2 < 1, colour, 'head')
        self._spot(f'{ears[1]}_ear', 0.018, 0.9 * dress['skin'])
        for name, radius, paint in (
            ('left_eye', 0.011, _DARK),
            ('right_eye', 0.011, _DARK),
            ('nose', 0.013, 0.7 * dress['skin']),
        ):
            if not self._turned_away(name):
                self._spot(name, radius, paint)

    def _spot(self, name: str, radius: float, colour: NDArray) -> None:
        point, radius = self.at[name], max(radius * self.height, 0.9)
        self._fill(self.scene.disc(point[0], point[1], radius, radius), colour, 'head')


def _facing(rng: Generator) -> float:
    """Radians that a body is turned by: 0 faces the viewer, and pi/2 the right of the picture."""
    sides = np.pi * np.array([0, 0.5, 1, 1.5])
    return rng.choice(sides, p=[0.45, 0.15, 0.25, 0.15]) + rng.normal(0, 0.3)


def _turn(yaw: float, roll: float) -> NDArray:
    """Rotation (3, 3) of a figure's own frame into the picture's: turned, then tilted."""
    c, s, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    return np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ [[c, 0, s], [0, 1, 0], [-s, 0, c]]


def _pose(rng: Generator) -> dict[str, NDArray]:
    """Joints (3,) in a figure's own frame: its left, down and forward from the hips, in heights."""
    at = {'neck': np.array([0, -0.335, 0]), 'head': np.array([0, -0.425, 0.012])}
    stride = np.radians(rng.uniform(-30, 30))
    crouch = np.radians(rng.uniform(30, 75)) if rng.random() < 0.2 else 0.0
    for side, sign in SIDES.items():
        raised = rng.random() < 0.3
        forward, outward = np.radians([rng.uniform(-30, 55), rng.uniform(6, 35)])
        if raised:
            outward = np.radians(rng.uniform(60, 150))
        bend, inward = np.radians([rng.uniform(0, 100), rng.uniform(-25, 25)])
        swing = sign * stride + crouch + np.radians(rng.normal(0, 6))
        knee = np.radians(rng.uniform(0, 25)) + max(-sign * stride, 0) + 1.6 * crouch
        spread = np.radians(rng.uniform(2, 14))
        chain = [
            ('shoulder', 'elbow', 0.165, forward, outward),
            ('elbow', 'wrist', 0.145, forward + bend, outward - inward),
            ('wrist', 'fingers', 0.05, forward + bend, outward - inward),
            ('hip', 'knee', 0.235, swing, spread),
            ('knee', 'ankle', 0.225, swing - knee, spread),
            ('ankle', 'toes', 0.06, np.radians(75), spread),
        ]
        at[f'{side}_shoulder'] = np.array([sign * 0.105, -0.29, 0])
        at[f'{side}_hip'] = np.array([sign * 0.058, 0, 0])
        for start, end, length, forward, outward in chain:
            way = [sign * np.sin(outward), np.cos(outward) * np.cos(forward),
                   np.cos(outward) * np.sin(forward)]  # fmt: skip
            at[f'{side}_{end}'] = at[f'{side}_{start}'] + length * np.array(way)
    return at


def _dress(rng: Generator) -> dict[str, NDArray]:
    """Colours (3,): sleeves are long or short, and so are trousers."""
    skin = _near(rng, _SKIN)
    shirt, trousers, shoe = rng.uniform(20, 235, (3, 3))
    return {
        'skin': skin,
        'hair': _near(rng, _HAIR),
        'shirt': shirt,
        'sleeve': shirt if rng.random() < 0.7 else skin,
        'trousers': trousers,
        'leg': trousers if rng.random() < 0.7 else skin,
        'shoe': 0.6 * shoe,
    }


def _near(rng: Generator, palette: list) -> NDArray:
    return np.array(palette[rng.integers(len(palette))]) + rng.normal(0, 8, 3)


def _round(off: NDArray) -> NDArray:
    """Light on something round, darker towards its rim, (H, W, 1)."""
    return (1.08 - 0.4 * off**2)[..., None]


def _clutter(scene: Canvas, x: float, foot: float, size: float) -> None:
    """Something that is no person and stands on the row `foot`: a box, a ball or a post."""
    rng = scene.rng
    colour = scene.texture(_WALLS + _FLOORS, grain=0.6, cell=3)
    shapes = [
        scene.box(x - size * 0.6, foot - size, x + size * 0.6, foot),
        scene.disc(x, foot - size / 2, size / 2, size / 2),
        scene.box(x - size * 0.12, foot - 2 * size, x + size * 0.12, foot),
    ]
    scene.paint(shapes[rng.integers(len(shapes))], colour)
