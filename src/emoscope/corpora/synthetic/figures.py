"""Synthetic walking figures: jointed bodies seen from the side, drawn and shaded.

A figure walks in the middle of the frame while the background moves past it. The gait always runs
forwards, and gait and background start at a random phase: in a single frame neither shows how much
of the clip has passed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from emoscope.core.arrays import FloatArray, Picture
from emoscope.corpora.synthetic.drawing import Colour, cloud, colour, ellipse, fill, shaded
from emoscope.corpora.synthetic.motion import Acting, drift

__all__ = ["Figure", "draw_figure"]


_FINER = 2  # the canvas is this many times larger than the video
_GROUND = 0.9  # y of the soles
_SWING_RAD = 0.42  # swing of a thigh to either side
_BUILDS = {"slight": 0.8, "medium": 1.0, "sturdy": 1.25}  # thickness of the limbs
_SKINS: list[Colour] = [(236, 198, 175), (206, 160, 122), (155, 106, 75), (102, 68, 50)]


@dataclass(frozen=True)
class Figure:
    """The features of a person: lengths in fractions of the frame's height, colours RGB."""

    height: float
    legs: float  # share of the height
    build: str
    cycles_hz: float  # rate of the gait: two steps per cycle
    bounce: float  # swing of the arms
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    light: float  # from -1, from behind the walker, to 1
    brightness: float
    wall: Colour
    ground: Colour
    texture: int  # seed of the background's texture

    @property
    def groups(self) -> dict[str, str]:
        """Groups for the manifest."""
        return {"build": self.build, "light": "dim" if self.brightness < 0.85 else "bright"}

    def film(self, rng: np.random.Generator, acting: Acting, size_px: int) -> Iterator[Picture]:
        """The frames of a clip: (size_px, size_px, 3) each."""
        times_s = acting.times_s
        x, y, zoom = drift(rng, times_s, 3)
        faces_left, start = bool(rng.random() < 0.5), rng.uniform(0, 4)
        exposure, noise = self.brightness * rng.uniform(0.92, 1.06), rng.uniform(1.5, 3.5)
        strip = _strip(self, size_px * _FINER)
        for t, time_s in enumerate(times_s):
            canvas = _passing(strip, start + _speed(self) * time_s)
            phase = acting.phase + 2 * np.pi * self.cycles_hz * time_s
            for limb in _body(self, acting.apex, acting.intensity[t], phase):
                _tube(canvas, limb, self.light)
            canvas = canvas[:, ::-1] if faces_left else canvas
            picture = _filmed(canvas, size_px, x[t], y[t], zoom[t]) * exposure
            picture += noise * rng.standard_normal(picture.shape, np.float32)
            yield np.clip(picture, 0, 255).astype(np.uint8)

    def steps_s(self, acting: Acting) -> FloatArray:
        """Times at which a heel strikes the ground: its thigh is furthest forward."""
        cycles = self.cycles_hz * acting.times_s[-1] + 2
        strikes = np.pi * (np.arange(2 * int(np.ceil(cycles))) + 0.5)
        at_s = (strikes - acting.phase) / (2 * np.pi * self.cycles_hz)
        return at_s[(at_s >= 0) & (at_s <= acting.times_s[-1])]


@dataclass(frozen=True)
class _Limb:
    """A limb: a tapered tube from one joint to the next."""

    start: FloatArray  # (2,)
    end: FloatArray
    thickness: tuple[float, float]  # radius at its start and its end
    paint: Colour


def draw_figure(rng: np.random.Generator) -> Figure:
    """Draw the features of a person at random."""
    grey = rng.uniform(90, 190)
    return Figure(
        height=rng.uniform(0.62, 0.7),
        legs=rng.uniform(0.47, 0.51),
        build=str(rng.choice(list(_BUILDS))),
        cycles_hz=rng.uniform(0.75, 1.15),
        bounce=rng.uniform(0.25, 0.5),
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=colour(rng.uniform(15, 110) * np.array([1.0, 0.8, 0.65])),
        shirt=colour(rng.uniform(40, 225, 3)),
        trousers=colour(rng.uniform(25, 140, 3)),
        light=rng.uniform(-1, 1),
        brightness=rng.uniform(0.7, 1.0),
        wall=colour(grey + rng.uniform(-35, 35, 3)),
        ground=colour(0.7 * grey + rng.uniform(-20, 20, 3)),
        texture=int(rng.integers(1, 2**31)),
    )


def _speed(figure: Figure) -> float:
    """Speed of the ground in frame heights per second, so that feet hardly slide."""
    return 4 * figure.height * figure.legs * np.sin(_SWING_RAD) * figure.cycles_hz


def _filmed(canvas: Picture, size_px: int, x: float, y: float, zoom: float) -> FloatArray:
    """The canvas as seen by a camera that moves slightly: (S, S, 3) float32."""
    side = len(canvas)
    middle, scale = (side / 2, side / 2), (1.02 + 0.02 * zoom) * size_px / side
    turn = np.asarray(cv2.getRotationMatrix2D(middle, 0, scale), np.float64)
    turn[:, 2] += (size_px - side) / 2 + size_px * np.array([0.03 * x, 0.01 * y])
    film = cv2.warpAffine(canvas, turn, (size_px, size_px), borderMode=cv2.BORDER_REFLECT)
    return film.astype(np.float32)


def _strip(figure: Figure, side: int) -> Picture:
    """A wall with windows, and a ground: (side, 4 side, 3). The strip can be repeated."""
    rng = np.random.default_rng((figure.texture, 1))
    rough = cv2.resize(cloud(figure.texture, side, 16), (2 * side, side))
    half = np.empty((side, 2 * side, 3), np.float32)
    half[:] = np.array(figure.wall, np.float32) * (1 + 0.08 * rough[..., None])
    horizon = round(rng.uniform(0.72, 0.8) * side)
    half[horizon:] = np.array(figure.ground) * (1 + 0.15 * rough[horizon:, :, None])
    picture = np.clip(half, 0, 255).astype(np.uint8)
    for left in np.arange(0.1, 1.8, 0.38) + rng.uniform(-0.05, 0.05, 5):
        low, width, tone = rng.uniform(0.3, 0.6), rng.uniform(0.06, 0.24), rng.uniform(0.6, 1.3)
        corners = [(left, 0.08), (left + width, 0.08), (left + width, low), (left, low)]
        fill(picture, corners, shaded(figure.wall, tone))
    for left in np.arange(0.0, 2.0, 0.25):  # joints between slabs
        slab = [(left, horizon / side), (left + 0.012, horizon / side), (left - 0.02, 1.0)]
        fill(picture, slab, shaded(figure.ground, 0.7))
    return np.concatenate([picture, picture[:, ::-1]], axis=1)


def _passing(strip: Picture, place: float) -> Picture:
    """The background of one frame, cut from the strip, with the shadow of the walker."""
    side = len(strip)
    shift = np.array([[1, 0, -(place % 4) * side], [0, 1, 0]])
    passing = cv2.warpAffine(strip, shift, (side, side), borderMode=cv2.BORDER_WRAP)
    canvas = np.asarray(passing, np.uint8)
    fill(canvas, ellipse(0.5, _GROUND + 0.01, 0.17, 0.022), colour(0.55 * canvas[-1].mean(axis=0)))
    return canvas


def _body(figure: Figure, apex: str, intensity: float, phase: float) -> Iterator[_Limb]:
    """The limbs of a walker who faces right, from back to front."""
    raised, slumped = intensity * (apex == "raise"), intensity * (apex == "slump")
    size, thick = figure.height, figure.height * 0.05 * _BUILDS[figure.build]
    near, far = (_leg(figure, phase + turn, slumped) for turn in (0.0, np.pi))
    hip = np.array([0.5, _GROUND - max(near[:, 1].max(), far[:, 1].max())])
    lean = 0.06 + 0.62 * slumped
    neck = hip + 0.3 * size * _towards(np.pi - lean)
    head = neck + 0.1 * size * _towards(np.pi - lean - 0.15 - 0.75 * slumped)
    shoulder = neck - 0.02 * size * _towards(np.pi - lean)
    chest = neck - 0.03 * size * _towards(np.pi - lean)
    yield from _arm(figure, shoulder, phase, raised, slumped, 0.68)
    yield from _clothed(figure, hip + far, thick, 0.68)
    yield from _clothed(figure, hip + near, thick, 1.0)
    yield _Limb(neck, head, (0.5 * thick, 0.5 * thick), figure.skin)
    yield _Limb(hip, chest, (1.25 * thick, 1.5 * thick), figure.shirt)
    yield from _skull(figure, head, lean + 0.75 * slumped)
    yield from _arm(figure, shoulder, phase + np.pi, raised, slumped, 0.92)


def _clothed(figure: Figure, joints: FloatArray, thick: float, tone: float) -> Iterator[_Limb]:
    hip, knee, ankle, toe = joints
    trousers = shaded(figure.trousers, tone)
    yield _Limb(ankle, toe, (0.5 * thick, 0.4 * thick), shaded((45, 40, 40), tone))
    yield _Limb(knee, ankle, (0.75 * thick, 0.5 * thick), trousers)
    yield _Limb(hip, knee, (1.1 * thick, 0.75 * thick), trousers)


def _leg(figure: Figure, phase: float, slumped: float) -> FloatArray:
    """Hip, knee, ankle and toe, relative to the hip: (4, 2)."""
    length = 0.5 * figure.height * figure.legs
    thigh = (_SWING_RAD - 0.1 * slumped) * np.sin(phase) + 0.15 * slumped
    bent = (
        0.1 + 0.2 * slumped + 0.8 * max(np.cos(phase + 0.25), 0.0) ** 2
    )  # while the leg swings forwards
    knee = length * _towards(thigh)
    ankle = knee + length * _towards(thigh - bent)
    toe = ankle + 0.075 * figure.height * _towards(np.pi / 2 - 0.1 + 0.5 * (thigh - bent))
    return np.stack([0 * knee, knee, ankle, toe])


def _arm(
    figure: Figure, shoulder: FloatArray, phase: float, raised: float, slumped: float, tone: float
) -> Iterator[_Limb]:
    swing = figure.bounce * (1 - 0.7 * slumped) * np.sin(phase)
    upper = (1 - raised) * swing + raised * (2.75 + 0.2 * swing)
    elbow = shoulder + 0.17 * figure.height * _towards(upper)
    hand = elbow + 0.17 * figure.height * _towards(upper + 0.35 - 0.2 * slumped)
    thick = figure.height * 0.036 * _BUILDS[figure.build]
    yield _Limb(elbow, hand, (0.75 * thick, 0.65 * thick), shaded(figure.skin, tone))
    yield _Limb(shoulder, elbow, (1.2 * thick, 0.95 * thick), shaded(figure.shirt, tone))


def _skull(figure: Figure, head: FloatArray, nod: float) -> Iterator[_Limb]:
    """The head: hair behind and above the face, and a nose."""
    radius = 0.062 * figure.height
    ahead, above = _towards(np.pi / 2 - nod), _towards(np.pi - nod)
    back = head - 0.25 * radius * ahead + 0.25 * radius * above
    yield _Limb(back, back + 0.1 * radius * above, (1.08 * radius, 1.08 * radius), figure.hair)
    front = head + 0.22 * radius * ahead - 0.15 * radius * above
    yield _Limb(front, front - 0.3 * radius * above, (0.9 * radius, 0.75 * radius), figure.skin)
    nose = front + 0.85 * radius * ahead
    yield _Limb(nose, nose - 0.15 * radius * above, (0.15 * radius, 0.2 * radius), figure.skin)


def _towards(angle: float) -> FloatArray:
    """The unit vector at an angle (rad) forwards from straight down: (2,)."""
    return np.array([np.sin(angle), np.cos(angle)])


def _tube(canvas: Picture, limb: _Limb, light: float) -> None:
    """Fill a limb, shaded brighter towards the light."""
    for narrower, tone in ((1.0, 0.72), (0.72, 0.9), (0.4, 1.05)):
        aside = 0.6 * (1 - narrower) * max(limb.thickness) * np.array([light, -0.7])
        outline = _round(limb.start + aside, limb.end + aside, narrower, limb.thickness)
        fill(canvas, outline, shaded(limb.paint, tone))


def _round(
    start: FloatArray, end: FloatArray, narrower: float, thickness: tuple[float, float]
) -> FloatArray:
    """The outline of a tube with round ends: (N, 2)."""
    along = end - start
    heading = np.arctan2(along[1], along[0])
    turns = heading + np.pi / 2 + np.linspace(0, np.pi, 9)
    behind = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    first, last = (radius * narrower for radius in thickness)
    return np.concatenate([start + first * behind, end - last * behind])
