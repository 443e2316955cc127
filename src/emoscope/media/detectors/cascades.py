"""Boosted cascades of faces: Haar's and local binary patterns."""

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import cv2
import cv2.data
import numpy as np

from emoscope.core.arrays import Picture
from emoscope.core.errors import MediaError
from emoscope.core.results import Box
from emoscope.media.detectors.base import (
    DETECTORS,
    Detection,
    read_bytes,
    reduced,
    scaled,
    takes_no_path,
    without_nested,
)

__all__ = ["CascadeDetector", "haar", "lbp", "lbp_classic"]


class CascadeDetector:
    """A boosted cascade over windows of all sizes (Viola and Jones, IJCV 2004).

    The picture is reduced to `longest_px`; the smallest face found is the cascade's own window
    there, and each size searched is `step` times the last. `side` and `drop` take the cascade's
    box to the house's: its side times `side`, its centre `drop` own sides lower.
    """

    # Windows that must agree: by chance, on textures and on the sample clips, two do at most,
    # but for one picture in three hundred.
    _MIN_HITS = 3

    def __init__(
        self,
        cascade: cv2.CascadeClassifier,
        *,
        longest_px: int,
        step: float = 1.2,
        side: float = 1.0,
        drop: float = 0.0,
    ) -> None:
        self._cascade = cascade
        self._window_px = int(self._cascade.getOriginalWindowSize()[0])
        self._longest_px, self._step, self._side, self._drop = longest_px, step, side, drop

    def detect(self, rgb: Picture) -> list[Detection]:
        """The faces of a (H, W, 3) picture, surest first; the score grows with the number of
        windows that agree: n / (n + 2)."""
        small, scale_xy = reduced(rgb, self._longest_px)
        windows = list(self._windows(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)))
        groups, hits = cv2.groupRectangles(windows, self._MIN_HITS - 1, 0.2)
        found = [
            Detection(scaled(self._house_box(*group), scale_xy), n / (n + 2.0))
            for group, n in zip(np.asarray(groups).tolist(), np.ravel(hits).tolist(), strict=True)
        ]
        return without_nested(found)

    def _windows(self, gray: cv2.typing.MatLike) -> Iterator[tuple[int, int, int, int]]:
        # OpenCV steps two pixels below twice the cascade's window and one above, so large faces
        # would cost most. Searching each octave at its own resolution costs half as much in all.
        octave = 1
        while min(gray.shape) >= self._window_px:
            found = self._cascade.detectMultiScale(
                gray,
                scaleFactor=self._step,
                minNeighbors=0,
                maxSize=(2 * self._window_px - 1,) * 2,
            )
            yield from ((x * octave, y * octave, w * octave, h * octave) for x, y, w, h in found)
            height, width = gray.shape
            half = (max(width // 2, 1), max(height // 2, 1))
            gray = cv2.resize(gray, half, interpolation=cv2.INTER_AREA)
            octave *= 2

    def _house_box(self, x: int, y: int, width: int, height: int) -> Box:
        center_x, center_y = x + width / 2, y + height * (0.5 + self._drop)
        half = self._side * max(width, height) / 2
        return Box(center_x - half, center_y - half, center_x + half, center_y + half)


@DETECTORS.register("haar")
def haar(path: str | None = None) -> CascadeDetector:
    """OpenCV's haarcascade_frontalface_default, the one of the four it ships that found most faces
    on the sample clips.

    Finds faces from 1/13 of the picture's longer side: 96 px in 720p, 48 px in 640x360."""
    takes_no_path("haar", path)
    file = Path(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")
    return CascadeDetector(_read_cascade(file), longest_px=320)


@DETECTORS.register("lbp")
def lbp(path: str | None = None) -> CascadeDetector:
    """The 45x45 local binary pattern cascade of Puttemans et al. (VISAPP 2017), from an OpenCV data
    folder or a path. Finds fewer turned faces than haar, and almost nothing that is none.

    Finds faces from 1/9 of the picture's longer side (house box): 142 px in 720p."""
    file = Path(path) if path else _find_lbp()
    # Its boxes end at the brows and cheeks. The factors are medians over the sample clips.
    return CascadeDetector(_read_cascade(file), longest_px=576, side=1.42, drop=-0.125)


@DETECTORS.register("lbp-classic")
def lbp_classic(path: str | None = None) -> CascadeDetector:
    """OpenCV's first local binary pattern cascade, as scikit-image carries it. Has more
    chance hits than the others, and finds fewer faces.

    Finds faces from 1/13 of the picture's longer side: 96 px in 720p."""
    takes_no_path("lbp-classic", path)
    if importlib.util.find_spec("skimage") is None:
        raise MediaError(
            "Detector lbp-classic needs scikit-image's cascade: pip install scikit-image"
        )
    import skimage.data

    # The copy misspells this tag, and OpenCV then loads a cascade that never finds anything.
    misspelt = {"featuhreParams": "featureParams"}
    file = Path(skimage.data.lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]
    return CascadeDetector(_read_cascade(file, misspelt), longest_px=320, step=1.1)


def _read_cascade(
    path: Path, repairs: Mapping[str, str] = MappingProxyType({})
) -> cv2.CascadeClassifier:
    """A cascade that is not empty. Raises MediaError."""
    xml = read_bytes(path).decode("utf-8", errors="replace")
    for wrong, right in repairs.items():
        xml = xml.replace(wrong, right)
    cascade = cv2.CascadeClassifier()
    try:
        storage = cv2.FileStorage(xml, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        cascade.read(storage.getFirstTopLevelNode())
    except (cv2.error, SystemError):  # SystemError: what the binding makes of text that is no XML
        pass
    if cascade.empty():
        raise MediaError(f"{path}: no cascade that OpenCV can read; give an OpenCV cascade .xml.")
    return cascade


def _lbp_folders() -> Iterator[Path]:
    """Where OpenCV's data folder may lie, nearest to the user's choice first."""
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
        f"{name} was not found in any OpenCV data folder: install it (Debian, Ubuntu: "
        "apt install opencv-data) or give its path (lbp=PATH)."
    )
