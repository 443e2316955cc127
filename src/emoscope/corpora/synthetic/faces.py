"""Synthetic talking faces: drawn, shaded, not photorealistic.

A face is drawn upright on a canvas of 1 x 1 (x to the right, y down, centre at 0.5, 0.5) and placed
on its background by the head's motion. Skin is a height field under one light. The neutral and the
apex skin are shaded once per clip and blended in each frame; brows, eyes and mouth are drawn in
every frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from emoscope.core.arrays import FloatArray, Picture
from emoscope.corpora.synthetic.drawing import (
    Colour,
    bump,
    cloud,
    colour,
    ellipse,
    fill,
    grid,
    shaded,
)
from emoscope.corpora.synthetic.motion import Acting, blinking, drift, speaking

__all__ = ["Face", "draw_face"]


_APEXES = ("smile", "frown", "gape")
_FINER = 2  # the canvas is this many times larger than the video
_SKINS: dict[str, list[Colour]] = {
    "fair": [(240, 205, 185), (232, 190, 165)],
    "olive": [(214, 168, 130), (200, 155, 115)],
    "brown": [(165, 115, 82), (146, 98, 68)],
    "dark": [(112, 74, 54), (92, 60, 44)],
}
_HAIRS: list[Colour] = [(28, 24, 22), (62, 42, 28), (110, 72, 42), (168, 128, 78), (130, 130, 132)]
_IRISES: list[Colour] = [(70, 44, 26), (88, 66, 36), (74, 104, 128), (84, 112, 76)]


@dataclass(frozen=True)
class Face:
    """The features of a person: lengths in fractions of the frame's height, colours RGB."""

    width: float  # half the width of the head
    height: float
    taper: float  # narrowing of the jaw
    eye_y: float
    eye_gap: float  # from the face's centre line to an eye's centre
    eye_size: float
    brow_y: float  # above the eye
    brow_thickness: float
    brow_arch: float
    nose_length: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    lip: float  # thickness
    hairline: float
    long_hair: bool
    tone: str  # name of the skin colour
    skin: Colour
    hair: Colour
    iris: Colour
    light: tuple[float, float, float]  # unit vector to it: x right, y down, z to the camera
    ambient: float
    wall: tuple[Colour, Colour]
    shirt: Colour
    texture: int  # seed of the textures of skin and wall

    @property
    def groups(self) -> dict[str, str]:
        """Groups for the manifest."""
        return {"skin": self.tone, "light": "left" if self.light[0] < 0 else "right"}

    def film(self, rng: np.random.Generator, acting: Acting, size_px: int) -> Iterator[Picture]:
        """The frames of a clip: (size_px, size_px, 3) each."""
        times_s, intensity = acting.times_s, acting.intensity
        closed, opening = blinking(rng, times_s), speaking(acting.syllables, times_s)
        x, y, roll, scale, gaze = drift(rng, times_s, 5)
        side = size_px * _FINER
        neutral, apex = (_skin(self, side, expression) for expression in ("", acting.apex))
        wall, hair = _wall(self, size_px), _hair(self, side)
        exposure, noise = rng.uniform(0.92, 1.06), rng.uniform(1.5, 3.5)
        for t in range(len(times_s)):
            expressed = dict.fromkeys(_APEXES, 0.0) | {acting.apex: intensity[t]}
            pose = _Pose(**expressed, speech=opening[t], closed=closed[t], gaze=gaze[t])
            skin = cv2.addWeighted(apex, intensity[t], neutral, 1 - intensity[t], 0)
            head, mask = _head(self, pose, np.asarray(skin, np.uint8), hair)
            to_film = _placed(side, size_px, x[t], y[t], roll[t], scale[t])
            picture = _over(wall, head, mask, to_film) * exposure
            picture += noise * rng.standard_normal(picture.shape, np.float32)
            yield np.clip(picture, 0, 255).astype(np.uint8)

    def steps_s(self, acting: Acting) -> FloatArray:
        """No footsteps."""
        return np.empty(0)


@dataclass(frozen=True)
class _Pose:
    """The state of the features in one frame: 0 is neutral, 1 is full intensity."""

    smile: float
    frown: float
    gape: float
    speech: float
    closed: float
    gaze: float


def draw_face(rng: np.random.Generator) -> Face:
    """Draw the features of a person at random."""
    tone = str(rng.choice(list(_SKINS)))
    dark, bright = (np.array(colour) for colour in reversed(_SKINS[tone]))
    side, up = rng.choice([-1, 1]) * rng.uniform(0.25, 0.9), rng.uniform(-0.7, -0.2)
    light = np.array([side, up, 1.0]) / np.linalg.norm([side, up, 1.0])
    wall = rng.uniform(70, 190, (2, 1)) + rng.uniform(-30, 30, (2, 3))
    return Face(
        width=rng.uniform(0.265, 0.305),
        height=rng.uniform(0.35, 0.38),
        taper=rng.uniform(0.12, 0.3),
        eye_y=rng.uniform(0.455, 0.48),
        eye_gap=rng.uniform(0.105, 0.125),
        eye_size=rng.uniform(0.05, 0.06),
        brow_y=rng.uniform(0.07, 0.085),
        brow_thickness=rng.uniform(0.009, 0.017),
        brow_arch=rng.uniform(0.005, 0.02),
        nose_length=rng.uniform(0.11, 0.14),
        nose_width=rng.uniform(0.03, 0.042),
        mouth_y=rng.uniform(0.7, 0.725),
        mouth_width=rng.uniform(0.085, 0.11),
        lip=rng.uniform(0.014, 0.024),
        hairline=rng.uniform(0.2, 0.27),
        long_hair=bool(rng.random() < 0.5),
        tone=tone,
        skin=colour(dark + rng.uniform(0, 1) * (bright - dark)),
        hair=_HAIRS[rng.integers(2 if tone == "dark" else len(_HAIRS))],
        iris=_IRISES[rng.integers(2 if tone in ("brown", "dark") else len(_IRISES))],
        light=colour(light),
        ambient=rng.uniform(0.3, 0.6),
        wall=(colour(wall[0]), colour(wall[1])),
        shirt=colour(rng.uniform(30, 220, 3)),
        texture=int(rng.integers(1, 2**31)),
    )


def _placed(side: int, size_px: int, x: float, y: float, roll: float, scale: float) -> FloatArray:
    """The transform from canvas to frame, (2, 3), for a motion of the head (each from -1 to 1)."""
    middle, zoom = (side / 2, side / 2), (1 + 0.03 * scale) * size_px / side
    turn = np.asarray(cv2.getRotationMatrix2D(middle, 5 * roll, zoom), np.float64)
    turn[:, 2] += (size_px - side) / 2 + size_px * np.array([0.025 * x, 0.02 * y])
    return turn


def _over(wall: FloatArray, head: Picture, mask: Picture, to_film: FloatArray) -> FloatArray:
    """The head in front of its background: (S, S, 3) float32."""
    size = wall.shape[1::-1]
    share = cv2.warpAffine(mask, to_film, size).astype(np.float32)[..., None] / 255
    drawn = cv2.warpAffine(head, to_film, size).astype(np.float32)
    return wall + share * (drawn - wall)


# Parts that do not change within a clip.


def _skin(face: Face, side: int, expression: str) -> Picture:
    """The skin under its light, covering the canvas."""
    across, down = grid(side)
    relief = _relief(face, side, expression)
    slope_y, slope_x = np.gradient(relief, 1 / side)
    radius = ((across - 0.5) / (face.width * 1.12)) ** 2 + ((down - 0.5) / (face.height * 1.1)) ** 2
    depth = np.sqrt(
        np.clip(1 - radius, 0.06, 1)
    )  # of an ellipsoid, clipped: infinite slope at its rim
    slope_x = slope_x - (across - 0.5) / (face.width * 1.12) / depth
    slope_y = slope_y - (down - 0.5) / (face.height * 1.1) / depth * 0.8
    steep = np.sqrt(slope_x**2 + slope_y**2 + 1)
    x, y, z = face.light
    lit = np.clip((-slope_x * x - slope_y * y + z) / steep, 0, 1)
    tone = face.ambient + (1.05 - face.ambient) * lit + 0.1 * lit**12
    tone *= 1 + 0.05 * cloud(face.texture, side, 24)
    blush = sum(bump(side, 0.5 + s * 0.15, 0.61, 0.07, 0.06) for s in (-1, 1))
    paint = np.array(face.skin) - np.array([-2, 9, 8]) * np.asarray(blush)[..., None]
    return np.clip(paint * tone[..., None], 0, 255).astype(np.uint8)


def _relief(face: Face, side: int, expression: str) -> FloatArray:
    """Height of the skin: (side, side)."""
    tip = face.eye_y + face.nose_length
    relief = 0.045 * bump(side, 0.5, tip, face.nose_width, 0.035)
    relief += 0.03 * bump(side, 0.5, (face.eye_y + tip) / 2, face.nose_width * 0.7, 0.09)
    relief += 0.02 * bump(side, 0.5, 0.82, 0.07, 0.05)  # the chin
    fold = 0.006
    for s in (-1, 1):
        eye_x = 0.5 + s * face.eye_gap
        relief -= 0.02 * bump(side, eye_x, face.eye_y, 0.06, 0.035)
        relief += 0.02 * bump(side, eye_x, face.eye_y - face.brow_y, 0.08, 0.02)
        relief += 0.02 * bump(side, 0.5 + s * 0.17, 0.6, 0.08, 0.07)
        relief += 0.012 * bump(side, 0.5 + s * face.nose_width, tip + 0.005, 0.018, 0.018)
        if expression == "smile":
            relief += 0.026 * bump(side, 0.5 + s * 0.16, 0.59, 0.06, 0.045)
            for x, y in ((0.075, 0.62), (0.1, 0.645), (0.12, 0.675), (0.13, 0.71)):
                relief -= fold * bump(side, 0.5 + s * x, y, 0.014, 0.022)
        if expression == "frown":
            relief -= fold * bump(side, 0.5 + s * 0.018, face.eye_y - 0.06, 0.009, 0.03)
            relief -= fold * bump(side, 0.5 + s * 0.13, 0.765, 0.016, 0.03)
        if expression == "gape":
            relief -= fold * bump(side, 0.5 + s * 0.12, 0.7, 0.014, 0.06)
            relief -= 0.5 * fold * bump(side, 0.5, face.eye_y - 0.16, 0.15, 0.008)
    return relief


def _hair(face: Face, side: int) -> Picture:
    """Hair that covers the canvas; the head is cut out of it."""
    strands = cv2.resize(cloud(face.texture, side, 48), (side, side * 4))[:side]
    tone = 1 + 0.16 * strands + 0.5 * bump(side, 0.5 + 0.3 * face.light[0], 0.16, 0.2, 0.1)
    paint = np.array(face.hair) * (0.5 + 0.6 * face.ambient)
    return np.clip(paint * tone[..., None], 0, 255).astype(np.uint8)


def _wall(face: Face, size_px: int) -> FloatArray:
    """The background of the head, with neck and shoulders: (S, S, 3) float32."""
    across, down = grid(size_px)
    mix = np.clip(0.5 + 0.4 * (across - 0.5) - 0.6 * (down - 0.5), 0, 1)
    mix = np.clip(mix + 0.12 * cloud(face.texture, size_px, 6), 0, 1)[..., None]
    wall = (mix * np.array(face.wall[0]) + (1 - mix) * np.array(face.wall[1])).astype(np.uint8)
    wall = np.ascontiguousarray(wall)
    if face.long_hair:
        fill(wall, ellipse(0.5, 0.66, face.width * 1.12, 0.36), shaded(face.hair, 0.6))
    neck = [(0.36, 0.7), (0.64, 0.7), (0.66, 0.93), (0.34, 0.93)]
    fill(wall, neck, shaded(face.skin, 0.35 + 0.4 * face.ambient))
    fill(wall, ellipse(0.5, 1.12, 0.42, 0.24), face.shirt)
    fill(wall, ellipse(0.5, 0.89, 0.15, 0.05), shaded(face.skin, 0.5 + 0.4 * face.ambient))
    return wall.astype(np.float32)


# Parts that are drawn in every frame.


def _head(face: Face, pose: _Pose, skin: Picture, hair: Picture) -> tuple[Picture, Picture]:
    """The head on its canvas, and its mask (255)."""
    side = len(skin)
    outline = _outline(face, 0.05 * pose.gape + 0.012 * pose.speech)
    shape, mask = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    fill(shape, outline, 255)
    head = hair.copy()
    crown = ellipse(0.5, 0.45, face.width * 1.09, face.height * 1.0)
    locks = crown[crown[:, 1] < (0.75 if face.long_hair else 0.5)]
    ears = [ellipse(0.5 + s * (face.width + 0.005), 0.53, 0.03, 0.06) for s in (-1, 1)]
    for part in (outline, locks, *ears):
        fill(mask, part, 255)
    for ear in ears:
        fill(head, ear, shaded(face.skin, 0.45 + 0.4 * face.ambient))
    cv2.copyTo(skin, shape, head)
    fringe = np.zeros_like(shape)
    fill(fringe, _fringe(face), 255)
    cv2.copyTo(hair, fringe, head)
    for s in (-1, 1):
        _eye(head, face, pose, s)
        _brow(head, face, pose, s)
    _nostrils(head, face)
    _mouth(head, face, pose)
    return head, mask


def _outline(face: Face, drop: float) -> FloatArray:
    """The outline of the face with a lowered jaw: (N, 2)."""
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    low = np.clip(np.sin(angles), 0, 1)
    x = face.width * np.cos(angles) * (1 - face.taper * low**2)
    y = face.height * np.sin(angles) + drop * low**2
    return np.stack([0.5 + x, 0.5 + y], axis=1)


def _fringe(face: Face) -> FloatArray:
    """The area where hair covers the forehead: above a line that falls at the temples."""
    x = np.linspace(-1, 1, 24)
    line = face.hairline + 0.2 * np.abs(x) ** 4
    lower = np.stack([0.5 + x * face.width * 1.1, line], axis=1)
    return np.concatenate([lower, [(1.0, 0.0), (0.0, 0.0)]])


def _eye(head: Picture, face: Face, pose: _Pose, s: int) -> None:
    wide = 1 + 0.45 * pose.gape - 0.3 * pose.smile - 0.25 * pose.frown
    opened = 0.5 * face.eye_size * wide * (1 - pose.closed)
    x, y = 0.5 + s * face.eye_gap, face.eye_y
    bend = np.cos(np.linspace(-np.pi / 2, np.pi / 2, 16))
    reach = x + np.linspace(-1, 1, 16) * face.eye_size
    upper = np.stack([reach, y - opened * bend], axis=1)
    lower = np.stack([reach, y + (0.7 - 0.3 * pose.smile) * opened * bend], axis=1)
    ball = np.full_like(head, shaded((235, 232, 228), 0.4 + 0.5 * face.ambient))
    gaze = x + 0.012 * pose.gaze
    fill(ball, ellipse(gaze, y, 0.027, 0.027), face.iris)
    fill(ball, ellipse(gaze, y, 0.013, 0.013), (12, 10, 10))
    fill(ball, ellipse(gaze + 0.01 * np.sign(face.light[0]), y - 0.01, 0.006, 0.006), (250,) * 3)
    shape = np.zeros(head.shape[:2], np.uint8)
    fill(shape, np.concatenate([upper, lower[::-1]]), 255)
    cv2.copyTo(ball, shape, head)
    lash = np.concatenate([upper, upper[::-1] - np.stack([0 * bend, 0.013 * bend], axis=1)])
    fill(head, lash, shaded(face.hair, 0.4))


def _brow(head: Picture, face: Face, pose: _Pose, s: int) -> None:
    along = np.linspace(-1, 1, 14)  # from the nose outwards
    inner = (1 - along) / 2
    y = face.eye_y - face.brow_y - 0.05 * pose.gape - 0.01 * pose.smile
    line = y - face.brow_arch * (1 - along**2) + pose.frown * (0.05 * inner - 0.008)
    x = 0.5 + s * (face.eye_gap + 0.072 * along - 0.014 * pose.frown * inner)
    thick = face.brow_thickness * (0.4 + 0.6 * inner)
    band = _band(x, line - thick, line + thick)
    fill(head, band, shaded(face.hair, 0.4 + 0.5 * face.ambient))


def _nostrils(head: Picture, face: Face) -> None:
    y = face.eye_y + face.nose_length + 0.022
    for s in (-1, 1):
        outline = ellipse(0.5 + s * 0.5 * face.nose_width, y, 0.011, 0.006)
        fill(head, outline, shaded(face.skin, 0.35 * face.ambient + 0.1))


def _mouth(head: Picture, face: Face, pose: _Pose) -> None:
    half = face.mouth_width * (1 + 0.36 * pose.smile - 0.08 * pose.frown - 0.2 * pose.gape)
    opened = 0.035 * pose.speech * (1 - 0.6 * pose.gape) + 0.085 * pose.gape + 0.012 * pose.smile
    lift = 0.06 * pose.smile - 0.042 * pose.frown + 0.01 * pose.gape  # of the mouth's corners
    along = np.linspace(-1, 1, 25)
    bend, corner = 1 - along**2, along**2
    x, y = 0.5 + half * along, face.mouth_y + 0.02 * pose.gape - lift * corner
    bow = 0.25 * face.lip * np.exp(-((along / 0.18) ** 2))
    top, bottom = y - 0.3 * opened * bend, y + opened * bend
    above = top - face.lip * bend**0.7 * (1 - 0.3 * pose.smile) + bow
    below = bottom + 1.25 * face.lip * bend**0.7
    light = 0.35 + 0.55 * face.ambient
    lips = shaded(colour(np.array(face.skin) * (0.95, 0.62, 0.6)), light + 0.2)
    fill(head, _band(x, above, below), lips)
    fill(head, _band(x, bottom + 0.5 * face.lip * bend, below), shaded(lips, 1.12))
    fill(head, _band(x, top - 0.003 * bend, bottom + 0.002 * bend), (48, 16, 18))
    if opened > 0.012:
        teeth = np.minimum(top + 0.018 * bend, bottom)
        fill(head, _band(x, top, teeth), shaded((240, 236, 225), light))
        tongue = np.maximum(bottom - 0.035 * bend, teeth)
        fill(head, _band(x, tongue, bottom), shaded((165, 70, 70), light))


def _band(x: FloatArray, upper: FloatArray, lower: FloatArray) -> FloatArray:
    """The area between two lines: (2 N, 2)."""
    return np.concatenate([np.stack([x, upper], axis=1), np.stack([x, lower], axis=1)[::-1]])
