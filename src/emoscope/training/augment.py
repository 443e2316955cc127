"""Augmentation: one random draw a clip, applied to all its frames alike."""

from collections.abc import Callable, Sequence
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from emoscope.core.errors import SpecError

__all__ = ["Augmentation", "augment"]

ByteArray = npt.NDArray[np.uint8]
Change = Callable[[ByteArray], ByteArray]


class Augmentation(BaseModel):
    """What may happen to a clip. Zero, or [1, 1] for `scale`, leaves it alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: float = Field(default=0.0, ge=0, le=1)  # probability of a mirror image
    rotate_deg: float = Field(default=0.0, ge=0, le=180)  # uniform in ± this
    shift: float = Field(default=0.0, ge=0, le=1)  # uniform in ± this part of the side
    scale: tuple[float, float] = (1.0, 1.0)  # uniform
    brightness: float = Field(default=0.0, ge=0, le=1)  # added, in ± this part of full scale
    contrast: float = Field(default=0.0, ge=0, lt=1)  # factor in 1 ± this
    blur: float = Field(default=0.0, ge=0, le=1)  # probability of a detour over a smaller picture
    erase: float = Field(default=0.0, ge=0, le=1)  # probability of a covered rectangle

    @model_validator(mode="after")
    def _scale_rises(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two positive, rising factors, got {self.scale}")
        return self


def augment(
    frames: Sequence[ByteArray], settings: Augmentation, rng: np.random.Generator
) -> list[ByteArray]:
    """Draw once and change every frame (H, W, 3) uint8, all of one size, in the same way.

    Raises SpecError where the sizes differ."""
    if len({frame.shape for frame in frames}) != 1:
        raise SpecError("Frames to augment must all be of one size.")
    size_hw = frames[0].shape[0], frames[0].shape[1]
    changes = (
        _draw_geometry(settings, size_hw, rng),
        _draw_light(settings, rng),
        _draw_blur(settings, size_hw, rng),
        _draw_cover(settings, size_hw, rng),
    )
    changed = list(frames)
    for change in changes:
        changed = [change(frame) for frame in changed]
    return changed


def _draw_geometry(s: Augmentation, size_hw: tuple[int, int], rng: np.random.Generator) -> Change:
    height, width = size_hw
    angle = rng.uniform(-s.rotate_deg, s.rotate_deg)
    factor = rng.uniform(*s.scale)
    center = ((width - 1) / 2, (height - 1) / 2)
    matrix: npt.NDArray[np.floating] = np.asarray(cv2.getRotationMatrix2D(center, angle, factor))
    matrix[:, 2] += rng.uniform(-s.shift, s.shift, size=2) * np.array([width, height])
    if rng.random() < s.flip:
        matrix = matrix @ np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1.0]])
    if np.allclose(matrix, np.eye(2, 3)):
        return _as_is
    return lambda frame: np.asarray(
        cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE),
        dtype=np.uint8,
    )


def _draw_light(s: Augmentation, rng: np.random.Generator) -> Change:
    gain = rng.uniform(1 - s.contrast, 1 + s.contrast)
    lift = rng.uniform(-s.brightness, s.brightness) * 255
    if gain == 1 and lift == 0:
        return _as_is
    levels = np.arange(256, dtype=np.float64)
    table = np.rint(np.clip((levels - 127.5) * gain + 127.5 + lift, 0, 255)).astype(np.uint8)
    return lambda frame: table[frame]


def _draw_blur(s: Augmentation, size_hw: tuple[int, int], rng: np.random.Generator) -> Change:
    if rng.random() >= s.blur:
        return _as_is
    height, width = size_hw
    factor = rng.uniform(0.35, 0.9)
    small = (max(round(width * factor), 1), max(round(height * factor), 1))

    def change(frame: ByteArray) -> ByteArray:
        less = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(less, (width, height)), dtype=np.uint8)

    return change


def _draw_cover(s: Augmentation, size_hw: tuple[int, int], rng: np.random.Generator) -> Change:
    if rng.random() >= s.erase:
        return _as_is
    height, width = (round(side * rng.uniform(0.15, 0.4)) for side in size_hw)
    top = int(rng.integers(0, size_hw[0] - height + 1))
    left = int(rng.integers(0, size_hw[1] - width + 1))
    shade = int(rng.integers(0, 256))

    def change(frame: ByteArray) -> ByteArray:
        covered = frame.copy()
        covered[top : top + height, left : left + width] = shade
        return covered

    return change


def _as_is(frame: ByteArray) -> ByteArray:
    return frame
