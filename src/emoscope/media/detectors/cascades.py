"""Boosted cascades that detect faces: Haar's and local binary patterns."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import cv2.data
import numpy as np
from cv2.typing import MatLike

from emoscope.core.arrays import FloatArray, Picture
from emoscope.core.errors import MediaError
from emoscope.core.results import Box
from emoscope.media.detectors.base import (
    DETECTORS,
    Detection,
    DetectorEntry,
    read_bytes,
    reduced,
    scaled,
    without_nested,
)

__all__ = ["CascadeDetector", "haar", "lbp"]


class CascadeDetector:
    """A boosted cascade over windows of all sizes (Viola and Jones, IJCV 2004).

    file        an OpenCV cascade .xml. Raises MediaError for any other file
    longest_px  the picture is reduced to this size; the smallest face found is as large as the
                cascade's own window there
    side, drop  convert the cascade's box to our convention: its side times `side`, its centre
                `drop` of its own sides lower
    """

    # Windows that must agree. False positives on textures and on the sample clips have at most 2,
    # except in one picture of three hundred.
    _MIN_HITS = 3
    _STEP = 1.2  # ratio of one size searched to the next

    def __init__(
        self, file: Path, *, longest_px: int, side: float = 1.0, drop: float = 0.0
    ) -> None:
        self._cascade = cv2.CascadeClassifier()
        xml = read_bytes(file).decode("utf-8", errors="replace")
        try:
            storage = cv2.FileStorage(xml, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
            self._cascade.read(storage.getFirstTopLevelNode())
        except (cv2.error, SystemError):  # SystemError: OpenCV's binding, for text that is not XML
            pass
        if self._cascade.empty():
            raise MediaError(
                f"{file}: not a cascade that OpenCV can read. Give an OpenCV cascade .xml."
            )
        self._window_px = int(self._cascade.getOriginalWindowSize()[0])
        self._longest_px, self._side, self._drop = longest_px, side, drop

    def detect(self, rgb: Picture, roll: float = 0.0) -> list[Detection]:
        """Faces in a (H, W, 3) picture, highest score first.

        Only heads tilted by less than about 15 degrees are found. With `roll` the picture is turned
        first, to find heads that are tilted clockwise by about so many degrees. The score is
        n / (n + 2) for n windows that agree."""
        small, scale_xy = reduced(rgb, self._longest_px)
        gray, to_picture = _turned(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), roll)
        # Their order depends on OpenCV's threads.
        windows = sorted(self._windows(gray))
        groups, hits = cv2.groupRectangles(windows, self._MIN_HITS - 1, 0.2)
        faces = []
        for group, n in zip(np.asarray(groups).tolist(), np.ravel(hits).tolist(), strict=True):
            box = self._converted(*group)
            if to_picture is not None:
                x, y = to_picture @ (*box.center, 1.0)
                half = box.width / 2
                box = Box(x - half, y - half, x + half, y + half)
            faces.append(Detection(scaled(box, scale_xy), n / (n + 2.0), roll=roll))
        return without_nested(faces)

    def _windows(self, gray: MatLike) -> Iterator[tuple[int, int, int, int]]:
        # OpenCV steps two pixels below twice the cascade's window and one above, so large faces
        # would cost most. Searching each octave at its own resolution halves the total cost.
        octave = 1
        while min(gray.shape) >= self._window_px:
            windows = self._cascade.detectMultiScale(
                gray,
                scaleFactor=self._STEP,
                minNeighbors=0,
                maxSize=(2 * self._window_px - 1,) * 2,
            )
            yield from ((x * octave, y * octave, w * octave, h * octave) for x, y, w, h in windows)
            height, width = gray.shape
            half = (max(width // 2, 1), max(height // 2, 1))
            gray = cv2.resize(gray, half, interpolation=cv2.INTER_AREA)
            octave *= 2

    def _converted(self, x: int, y: int, width: int, height: int) -> Box:
        """The cascade's window as a box of our convention."""
        center_x, center_y = x + width / 2, y + height * (0.5 + self._drop)
        half = self._side * max(width, height) / 2
        return Box(center_x - half, center_y - half, center_x + half, center_y + half)


def _turned(gray: MatLike, roll: float) -> tuple[MatLike, FloatArray | None]:
    """Turn a picture so that heads tilted clockwise by `roll` degrees are upright.

    Also returns the matrix (2, 3) from points of the result to points of the picture, None for no
    turn. The result holds the whole picture, with black corners."""
    if roll == 0:
        return gray, None
    height, width = gray.shape
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    turned_wh = (
        round(width * abs(cos) + height * abs(sin)),
        round(width * abs(sin) + height * abs(cos)),
    )
    turn = np.array([[cos, -sin], [sin, cos]])
    offset = np.array([width, height]) / 2 - turn @ np.array(turned_wh) / 2
    to_picture = np.column_stack([turn, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(gray, to_picture, turned_wh, flags=flags), to_picture


def haar() -> CascadeDetector:
    """OpenCV's haarcascade_frontalface_default, the default detector of faces.

    Of the four frontal cascades in OpenCV it finds most faces on the sample clips. The smallest
    face found is 1/13 of the picture's longer side: 96 px in 720p, 48 px in 640x360."""
    file = Path(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")
    return CascadeDetector(file, longest_px=320)


DETECTORS.add("haar", DetectorEntry(haar, regions={"face"}))


def lbp(path: str | None = None) -> CascadeDetector:
    """The 45x45 local binary pattern cascade of Puttemans et al. (VISAPP 2017), from a path or an
    OpenCV data folder. Finds fewer turned faces than haar, and produces almost no false positives.

    The smallest face found is 1/9 of the picture's longer side: 142 px in 720p."""
    file = Path(path) if path else _find_lbp()
    # Its boxes end at the brows and cheeks. The factors are medians over the sample clips.
    return CascadeDetector(file, longest_px=576, side=1.42, drop=-0.125)


DETECTORS.add("lbp", DetectorEntry(lbp, regions={"face"}, takes_file=True))


def _lbp_folders() -> Iterator[Path]:
    """Folders that may hold OpenCV's data, the user's choice first."""
    chosen = os.environ.get("OPENCV_SAMPLES_DATA_PATH")
    roots = [Path(chosen)] if chosen else []
    roots.append(Path(cv2.data.haarcascades).parent)
    for prefix in (Path(sys.prefix), Path("/usr/local"), Path("/usr"), Path("/opt/homebrew")):
        roots += [prefix / "share" / "opencv4", prefix / "share" / "opencv"]
    for root in roots:
        yield from (root, root / "lbpcascades")


def _find_lbp() -> Path:
    name = "lbpcascade_frontalface_improved.xml"
    for folder in _lbp_folders():
        if (folder / name).is_file():
            return folder / name
    raise MediaError(
        f"{name} is in no OpenCV data folder. Install it (Debian, Ubuntu: "
        "apt install opencv-data) or give its path (lbp=PATH)."
    )
