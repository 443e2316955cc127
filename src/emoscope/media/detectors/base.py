"""The registry of detectors, and helpers that several of them share.

Every face detector returns boxes of one convention, that of OpenCV's frontal Haar cascade: a square
from the brows to the chin and from cheek to cheek. A model therefore sees the same crop whichever
detector is chosen.
"""

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2

from emoscope.core.arrays import Picture
from emoscope.core.clipspec import Region
from emoscope.core.errors import ReadError
from emoscope.core.registry import Registry
from emoscope.core.results import Box

__all__ = [
    "DETECTORS",
    "Detection",
    "Detector",
    "DetectorEntry",
    "DetectorPool",
    "Eyes",
    "Point",
    "read_bytes",
    "reduced",
    "scaled",
    "without_nested",
]

Point = tuple[float, float]
Eyes = tuple[Point, Point]


@dataclass(frozen=True)
class Detection:
    """One face or person.

    box     in pixels of the picture given
    score   confidence, 0 to 1
    eyes    the left and the right one in the picture, where the detector locates them
    roll    degrees by which the head is tilted clockwise, where the detector searches for it
    """

    box: Box
    score: float
    eyes: Eyes | None = None
    roll: float = 0.0


class Detector(Protocol):
    """Finds faces or people in a picture. It serves one thread at a time; see `DetectorPool`."""

    def detect(self, rgb: Picture) -> list[Detection]:
        """Detections in a (H, W, 3) uint8 RGB picture of any size, highest score first."""
        ...


@dataclass(frozen=True)
class DetectorEntry:
    """How to build a detector, and where it can be used.

    build        returns a Detector; called with a path where the user gives one
    regions      the regions of a ClipSpec that it serves: "face", "body", "frame"
    takes_file   whether a user may give a file: "lbp=PATH"
    """

    build: Callable[..., Detector]
    regions: Set[Region]
    takes_file: bool = False


class DetectorPool:
    """Detectors of one kind, of which each serves one video at a time.

    OpenCV's detectors keep the picture that they work on, so threads cannot share one. `build` is
    called at once, and again whenever all detectors are in use.

    >>> from emoscope.media.detectors.whole_frame import WholeFrame
    >>> pool = DetectorPool(WholeFrame)
    >>> with pool.borrow() as detector:
    ...     detector is pool.take()
    False
    """

    def __init__(self, build: Callable[[], Detector]) -> None:
        self._build = build
        self._idle = [build()]

    def take(self) -> Detector:
        """A detector that nobody uses until it is given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._build()

    def give_back(self, detector: Detector) -> None:
        """Put back a detector from `take`."""
        self._idle.append(detector)

    @contextmanager
    def borrow(self) -> Iterator[Detector]:
        """A detector for the length of a block."""
        detector = self.take()
        try:
            yield detector
        finally:
            self.give_back(detector)


DETECTORS: Registry[DetectorEntry] = Registry(
    "detector", package="emoscope.media.detectors", group="emoscope.detectors"
)


def reduced(rgb: Picture, longest_px: int) -> tuple[Picture, Point]:
    """Shrink a picture to at most `longest_px`; also return the x and y factors that undo it."""
    height, width = rgb.shape[:2]
    factor = min(1.0, longest_px / max(height, width))
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR) if factor < 1 else rgb
    return small, (width / size[0], height / size[1])  # type: ignore[return-value]


def scaled(box: Box, scale_xy: Point) -> Box:
    """Multiply a box's coordinates by one factor for x and one for y."""
    scale_x, scale_y = scale_xy
    return Box(box.x1 * scale_x, box.y1 * scale_y, box.x2 * scale_x, box.y2 * scale_y)


def without_nested(detections: list[Detection]) -> list[Detection]:
    """Drop detections centred inside one with a higher score, such as a chin in a face.

    The rest is sorted, highest score first."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda detection: -detection.score):
        x, y = detection.box.center
        if not any(b.x1 < x < b.x2 and b.y1 < y < b.y2 for b in (k.box for k in kept)):
            kept.append(detection)
    return kept


def read_bytes(path: Path) -> bytes:
    """Read a detector's file. Raises ReadError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({error.strerror}).") from None
