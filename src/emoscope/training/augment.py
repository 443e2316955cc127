"""Augmentation: one random draw per clip, applied to all its frames, sizes and flow fields."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from emoscope.core.arrays import ByteArray, Float32Array
from emoscope.media.clips import Material

__all__ = ["PLACES", "Augmentation", "Draw", "crops", "draw"]

Matrix = npt.NDArray[np.float64]
Rectangle = tuple[float, float, float, float]  # left, top, width, height
Pixels = TypeVar("Pixels", ByteArray, Float32Array)
Option = TypeVar("Option")

Share = Annotated[float, Field(ge=0, le=1)]

PLACES = ((0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1))  # (x, y): centre and four corners
_WHOLE: Rectangle = (0.0, 0.0, 1.0, 1.0)
_NOTHING: Rectangle = (0.0, 0.0, 0.0, 0.0)


class Augmentation(BaseModel):
    """Random changes of a training clip. The defaults change nothing.

    Order: flip, rotation, scale, shift and crop, as one warp that repeats the edge pixels outside
    the frame; then brightness and contrast, blurs, erasing. Evaluation uses the unchanged clip and
    the whole frame, also after training on crops (our choice: Fan and Ke do not say).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flip: Share = Field(default=0.0, description="Probability of a horizontal flip.")
    rotate_deg: float = Field(
        default=0.0,
        ge=0,
        le=180,
        description="Rotate about the centre by up to this angle, either way.",
    )
    scale: tuple[float, float] = Field(
        default=(1.0, 1.0), description="Scale about the centre by a factor from this range."
    )
    shift: Share = Field(
        default=0.0,
        description="Shift by up to this fraction of the width and of the height, either way.",
    )
    corner_shift: tuple[Share, Share] = Field(
        default=(0.0, 0.0),
        description="Keep the frame in place or move it towards one of the four corners, by these "
        "fractions of its width and height. Tahghighi et al.: 25 px of 720 x 576, "
        "`[0.0347, 0.0434]`.",
    )
    crop_sides: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(),
        description="Sides of a crop, as fractions of the frame's. Width and height are drawn from "
        "them independently, the position from the four corners and the centre; the crop is "
        "stretched to the frame. Fan and Ke: {224, 192, 168} of 256, `[0.875, 0.75, 0.65625]`.",
    )
    brightness: Share = Field(
        default=0.0, description="Add up to this fraction of full scale, either way."
    )
    contrast: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Multiply the distance from middle grey by a factor of 1 ± this.",
    )
    blur: Share = Field(
        default=0.0,
        description="Probability of scaling down to 0.35 to 0.9 of the side and back up.",
    )
    gaussian_blur: tuple[Annotated[float, Field(ge=0, le=0.5)], ...] = Field(
        default=(),
        description="Standard deviations, as fractions of the frame's height, of which one is "
        "drawn; 0 is no blur.",
    )
    erase: Share = Field(
        default=0.0,
        description="Probability of erasing a rectangle with sides of 0.15 to 0.4 of the frame's.",
    )

    @model_validator(mode="after")
    def _scale_rises(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two positive, rising factors, got {self.scale}")
        return self


@dataclass(frozen=True)
class Draw:
    """The changes of one clip, relative to its frame, so that every size changes alike.

    flip       mirror image
    angle_deg  counter-clockwise rotation about the centre, in the frame's own pixels
    factor     scaling about the centre; more than 1 enlarges
    shift      to the right and down, parts of the width and the height
    crop       left, top, width, height, parts of the frame; stretched to the frame
    gain       factor of the distance to middle grey
    lift       brightness offset, part of full scale
    detour     side after downscaling, part of the frame's; 1 does not downscale
    sigma      standard deviation of a Gaussian blur, part of the frame's height; 0 is no blur
    cover      left, top, width, height of the covered rectangle, parts of the frame; none if empty
    shade      grey level of the cover, 0 to 255
    """

    flip: bool = False
    angle_deg: float = 0.0
    factor: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    crop: Rectangle = _WHOLE
    gain: float = 1.0
    lift: float = 0.0
    detour: float = 1.0
    sigma: float = 0.0
    cover: Rectangle = _NOTHING
    shade: int = 0

    def apply(self, material: Material) -> Material:
        """Change a clip.

        Flow is warped as the pictures are, and its vectors are rotated, mirrored and scaled with
        them; brightness and blur leave it unchanged; it is zero under a cover. Vector streams are
        not changed."""
        return replace(
            material,
            pictures={size: self._change(p) for size, p in material.pictures.items()},
            flow={size: self._change_flow(f) for size, f in material.flow.items()},
        )

    def _change(self, pictures: ByteArray) -> ByteArray:
        """(T, H, W, 3) -> the same shape."""
        changed = _warp(pictures, self._matrix(pictures.shape[1:3]))
        changed = _relight(changed, self.gain, self.lift)
        changed = _lose_detail(changed, self.detour)
        changed = _soften(changed, self.sigma)
        return self._hide(changed, self.shade)

    def _change_flow(self, flow: Float32Array) -> Float32Array:
        """(T, H, W, 2) in pixels per frame -> the same shape."""
        warped = _warp(flow, self._matrix(flow.shape[1:3]))
        rows = warped.reshape(-1, *warped.shape[2:])
        turned = np.asarray(cv2.transform(rows, self._linear()), dtype=np.float32)
        return self._hide(turned.reshape(flow.shape), 0)

    def _linear(self) -> Matrix:
        """(2, 2) matrix of a displacement (x, y) in the picture."""
        angle = math.radians(self.angle_deg)
        cos, sin = self.factor * math.cos(angle), self.factor * math.sin(angle)
        turn = np.array([[cos, sin], [-sin, cos]])  # y points down
        mirror = np.array([-1.0 if self.flip else 1.0, 1.0])
        stretch = 1 / np.array(self.crop[2:])
        return stretch[:, None] * turn * mirror

    def _matrix(self, size_hw: tuple[int, ...]) -> Matrix:
        """(2, 3) matrix of a pixel's centre (x, y)."""
        size_wh = np.array(size_hw[::-1])
        left_top, sides = np.array(self.crop[:2]), np.array(self.crop[2:])
        off_center = left_top + sides / 2 - 0.5
        moved = (np.array(self.shift) - off_center) / sides * size_wh
        center, linear = (size_wh - 1) / 2, self._linear()
        return np.column_stack([linear, center + moved - linear @ center])

    def _hide(self, pixels: Pixels, level: float) -> Pixels:
        left, top, wide, high = self.cover
        if wide == 0 or high == 0:
            return pixels
        height, width = pixels.shape[1:3]
        rows = slice(round(top * height), round((top + high) * height))
        columns = slice(round(left * width), round((left + wide) * width))
        hidden = pixels.copy()
        hidden[:, rows, columns] = level
        return hidden


def draw(settings: Augmentation, rng: np.random.Generator) -> Draw:
    """Draw the changes of one clip.

    Always takes 20 numbers from the generator, each for one purpose: a setting does not change the
    draws of the others, so that ablations differ in that setting only."""
    s, u = settings, iter(rng.random(20).tolist())
    flip = next(u) < s.flip
    angle_deg = _between(next(u), -s.rotate_deg, s.rotate_deg)
    factor = _between(next(u), *s.scale)
    slide = _between(next(u), -s.shift, s.shift), _between(next(u), -s.shift, s.shift)
    place = _pick(next(u), PLACES)
    sides = s.crop_sides or (1.0,)
    crop = _crop_at(_pick(next(u), PLACES), _pick(next(u), sides), _pick(next(u), sides))
    gain = _between(next(u), 1 - s.contrast, 1 + s.contrast)
    lift = _between(next(u), -s.brightness, s.brightness)
    lossy, loss = next(u) < s.blur, _between(next(u), 0.35, 0.9)
    sigma = _pick(next(u), s.gaussian_blur or (0.0,))
    covered = next(u) < s.erase
    wide, high = _between(next(u), 0.15, 0.4), _between(next(u), 0.15, 0.4)
    cover = (next(u) * (1 - wide), next(u) * (1 - high), wide, high)
    shade = int(_between(next(u), 0, 256))
    return Draw(
        flip=flip,
        angle_deg=angle_deg,
        factor=factor,
        shift=(
            slide[0] + place[0] * s.corner_shift[0],
            slide[1] + place[1] * s.corner_shift[1],
        ),
        crop=crop,
        gain=gain,
        lift=lift,
        detour=loss if lossy else 1.0,
        sigma=sigma,
        cover=cover if covered else _NOTHING,
        shade=shade,
    )


def crops(settings: Augmentation) -> set[Rectangle]:
    """All possible crops: left, top, width, height, parts of the frame."""
    sides = settings.crop_sides or (1.0,)
    return {_crop_at(*choice) for choice in itertools.product(PLACES, sides, sides)}


def _between(u: float, low: float, high: float) -> float:
    return low + u * (high - low)


def _pick(u: float, options: Sequence[Option]) -> Option:
    return options[int(u * len(options))]


def _crop_at(place: tuple[int, int], wide: float, high: float) -> Rectangle:
    return (1 - wide) / 2 * (1 + place[0]), (1 - high) / 2 * (1 + place[1]), wide, high


def _warp(pixels: Pixels, matrix: Matrix) -> Pixels:
    """Warp (T, H, W, C) by a (2, 3) matrix; the edge is repeated outside the picture."""
    if np.array_equal(matrix, np.eye(2, 3)):
        return pixels
    warped = np.empty(pixels.shape, pixels.dtype)
    for before, after in zip(pixels, warped, strict=True):
        size_wh = before.shape[1::-1]
        cv2.warpAffine(before, matrix, size_wh, dst=after, borderMode=cv2.BORDER_REPLICATE)
    return warped


def _relight(pictures: ByteArray, gain: float, lift: float) -> ByteArray:
    if gain == 1 and lift == 0:
        return pictures
    levels = (np.arange(256.0) - 127.5) * gain + 127.5 + 255 * lift
    table = np.rint(levels.clip(0, 255)).astype(np.uint8)
    rows = pictures.reshape(-1, *pictures.shape[2:])
    return np.asarray(cv2.LUT(rows, table), dtype=np.uint8).reshape(pictures.shape)


def _lose_detail(pictures: ByteArray, detour: float) -> ByteArray:
    if detour == 1:
        return pictures
    height, width = pictures.shape[1:3]
    small_wh = max(round(width * detour), 1), max(round(height * detour), 1)
    coarse = np.empty_like(pictures)
    for before, after in zip(pictures, coarse, strict=True):
        less: Any = cv2.resize(before, small_wh, interpolation=cv2.INTER_AREA)
        cv2.resize(less, (width, height), dst=after)
    return coarse


def _soften(pictures: ByteArray, sigma: float) -> ByteArray:
    if sigma == 0:
        return pictures
    sigma_px = sigma * pictures.shape[1]
    soft = np.empty_like(pictures)
    for before, after in zip(pictures, soft, strict=True):
        cv2.GaussianBlur(before, (0, 0), sigma_px, dst=after, borderType=cv2.BORDER_REPLICATE)
    return soft
