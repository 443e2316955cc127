"""Detectors by name: what finds faces or people in a picture.

Every face detector gives boxes of one convention, that of OpenCV's frontal Haar cascade: a square
from the brows to the chin, cheek to cheek. So a model sees the same crop whichever one is chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2

from emoscope.core.arrays import Picture
from emoscope.core.errors import MediaError
from emoscope.core.registry import Registry
from emoscope.core.results import Box

__all__ = [
    "DETECTORS",
    "Detection",
    "Detector",
    "Eyes",
    "Point",
    "read_bytes",
    "reduced",
    "scaled",
    "takes_no_path",
    "without_nested",
]

Point = tuple[float, float]
Eyes = tuple[Point, Point]


@dataclass(frozen=True)
class Detection:
    """One face: its box in pixels of the picture given, how sure (0 to 1), and the eyes (left in
    the picture, right in the picture) where the detector finds them."""

    box: Box
    score: float
    eyes: Eyes | None = None


class Detector(Protocol):
    """What finds faces in a picture."""

    def detect(self, rgb: Picture) -> list[Detection]:
        """The faces of a (H, W, 3) uint8 RGB picture of any size, surest first."""
        ...


DETECTORS: Registry[Callable[[str | None], Detector]] = Registry("detector")


def reduced(rgb: Picture, longest_px: int) -> tuple[Picture, Point]:
    """The picture no longer than `longest_px`, and what takes its x and y back."""
    height, width = rgb.shape[:2]
    factor = min(1.0, longest_px / max(height, width))
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR) if factor < 1 else rgb
    return small, (width / size[0], height / size[1])  # type: ignore[return-value]


def scaled(box: Box, scale_xy: Point) -> Box:
    """A box in a picture that is scaled by x and y factors of its own."""
    scale_x, scale_y = scale_xy
    return Box(box.x1 * scale_x, box.y1 * scale_y, box.x2 * scale_x, box.y2 * scale_y)


def without_nested(found: list[Detection]) -> list[Detection]:
    """Surest first, without those whose centre lies in a surer one: a chin or an ear in a face."""
    kept: list[Detection] = []
    for face in sorted(found, key=lambda face: -face.score):
        x, y = face.box.center
        if not any(b.x1 < x < b.x2 and b.y1 < y < b.y2 for b in (k.box for k in kept)):
            kept.append(face)
    return kept


def takes_no_path(name: str, path: str | None) -> None:
    """Raise MediaError for a detector that was given a file it has no use for."""
    if path is not None:
        raise MediaError(f"Detector {name} takes no file, got {path!r}: write {name!r} alone.")


def read_bytes(path: Path) -> bytes:
    """Read a detector's file. Raises MediaError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror}).") from None
