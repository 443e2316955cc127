"""Faces in a picture: detectors by name, and the square crop a model looks at.

Every detector gives boxes of one convention, that of OpenCV's frontal Haar cascade (a square from
the brows to the chin, cheek to cheek), so that a model sees the same crop whichever one is chosen.
"""

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt

from emoscope.core.errors import MediaError
from emoscope.core.registry import Registry
from emoscope.core.results import Box

__all__ = [
    "DETECTORS",
    "CascadeDetector",
    "Detection",
    "Detector",
    "Point",
    "WholeFrame",
    "YuNetDetector",
    "create_detector",
    "crop_face",
    "without_nested",
]

Picture = npt.NDArray[np.uint8]
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


def create_detector(choice: str) -> Detector:
    """The detector a user names: "haar", "lbp", "lbp=PATH", "lbp-classic", "yunet=PATH", "none".

    Raises UnknownName, or MediaError where its file is missing or not what it reads."""
    name, _, path = choice.partition("=")
    return DETECTORS[name](path or None)


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
        small, scale_xy = _reduced(rgb, self._longest_px)
        windows = list(self._windows(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)))
        groups, hits = cv2.groupRectangles(windows, self._MIN_HITS - 1, 0.2)
        found = [
            Detection(_scaled(self._house_box(*group), scale_xy), n / (n + 2.0))
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


class YuNetDetector:
    """YuNet (Wu et al., Machine Intelligence Research 2023) by OpenCV's FaceDetectorYN; gives eyes.

    `path` is a face_detection_yunet ONNX file. The picture is reduced to 480 px; the smallest
    face found is about 10 px wide there (27 px in 720p). Raises MediaError."""

    _LONGEST_PX = 480
    # OpenCV 4.14 gives boxes of infinite size for pictures of up to 32 px on one side.
    _LEAST_PX = 64
    _MIN_SCORE = 0.6
    # The median side of the Haar box over sqrt(width * height) of YuNet's, on the sample clips.
    _SIDE = 1.05

    def __init__(self, path: str | Path) -> None:
        model = np.frombuffer(_read_bytes(Path(path)), dtype=np.uint8)
        nothing = np.empty(0, dtype=np.uint8)
        try:
            self._net = cv2.FaceDetectorYN.create(
                "onnx", model, nothing, (64, 64), self._MIN_SCORE, 0.3, 100
            )
            self._net.detect(np.zeros((64, 64, 3), dtype=np.uint8))  # a foreign graph fails here
        except cv2.error as error:
            raise MediaError(
                f"{path}: no YuNet model that OpenCV {cv2.__version__} can run ({error.err}); "
                "give a face_detection_yunet .onnx file."
            ) from None

    def detect(self, rgb: Picture) -> list[Detection]:
        """The faces of a (H, W, 3) picture with their eyes, surest first; scores are YuNet's."""
        small, scale_xy = _reduced(rgb, self._LONGEST_PX)
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        below, beside = (max(self._LEAST_PX - side, 0) for side in small.shape[:2])
        bgr = cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._net.detect(bgr)
        found = [] if rows is None else [self._detection(row, scale_xy) for row in rows.tolist()]
        return sorted(found, key=lambda face: -face.score)

    def _detection(self, row: list[float], scale_xy: Point) -> Detection:
        x, y, width, height = row[:4]
        half = self._SIDE * math.sqrt(max(width, 1.0) * max(height, 1.0)) / 2
        center_x, center_y = x + width / 2, y + height / 2
        box = Box(center_x - half, center_y - half, center_x + half, center_y + half)
        scale_x, scale_y = scale_xy
        one, other = sorted(
            [(row[4] * scale_x, row[5] * scale_y), (row[6] * scale_x, row[7] * scale_y)]
        )
        return Detection(_scaled(box, scale_xy), row[14], (one, other))


class WholeFrame:
    """For pictures that are faces already: one detection, all of the picture."""

    def detect(self, rgb: Picture) -> list[Detection]:
        """One box, as large as the picture."""
        height, width = rgb.shape[:2]
        return [Detection(Box(0.0, 0.0, float(width), float(height)), 1.0)]


@DETECTORS.register("haar")
def haar(path: str | None = None) -> CascadeDetector:
    """OpenCV's haarcascade_frontalface_default, the one of the four it ships that found most faces
    on the sample clips.

    Finds faces from 1/13 of the picture's longer side: 96 px in 720p, 48 px in 640x360."""
    _takes_no_path("haar", path)
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
    _takes_no_path("lbp-classic", path)
    if importlib.util.find_spec("skimage") is None:
        raise MediaError(
            "Detector lbp-classic needs scikit-image's cascade: pip install scikit-image"
        )
    import skimage.data

    # The copy misspells this tag, and OpenCV then loads a cascade that never finds anything.
    misspelt = {"featuhreParams": "featureParams"}
    file = Path(skimage.data.lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]
    return CascadeDetector(_read_cascade(file, misspelt), longest_px=320, step=1.1)


@DETECTORS.register("yunet")
def yunet(path: str | None = None) -> YuNetDetector:
    """YuNet from a model file: best on turned and small faces, and gives the eyes."""
    if path is None:
        raise MediaError("Detector yunet needs a model file: yunet=face_detection_yunet.onnx")
    return YuNetDetector(path)


@DETECTORS.register("hog")
def hog(path: str | None = None) -> Detector:
    """OpenCV's detector of people, for models that look at bodies: the default there.

    Finds people from 0.3 of the picture's shorter side: 216 px in 720p."""
    _takes_no_path("hog", path)
    from emoscope.media.bodies import HogDetector  # which is made of what stands here

    return HogDetector()


@DETECTORS.register("none")
def none(path: str | None = None) -> WholeFrame:
    """No detection: the frame is the face."""
    _takes_no_path("none", path)
    return WholeFrame()


def crop_face(rgb: Picture, box: Box, *, margin: float = 0.0, eyes: Eyes | None = None) -> Picture:
    """The square around a face or a body: (H, W, 3) uint8 -> (S, S, 3) uint8, a copy.

    Centred on the box; S = max(width, height) * (1 + 2 * margin), rounded. What lies outside the
    picture repeats its edge. With `eyes` (left, right in the picture) it is turned about its
    centre so that they are level."""
    side = max(round(max(box.width, box.height) * (1 + 2 * margin)), 1)
    if eyes is not None:
        return _turned_crop(rgb, box.center, side, eyes)
    center_x, center_y = box.center
    x, y = math.floor(center_x - side / 2 + 0.5), math.floor(center_y - side / 2 + 0.5)
    height, width = rgb.shape[:2]
    if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
        return rgb[y : y + side, x : x + side].copy()
    columns = np.clip(np.arange(x, x + side), 0, width - 1)
    rows = np.clip(np.arange(y, y + side), 0, height - 1)
    return rgb[rows[:, None], columns]


def _turned_crop(rgb: Picture, center: Point, side: int, eyes: Eyes) -> Picture:
    (left_x, left_y), (right_x, right_y) = eyes
    angle = math.atan2(right_y - left_y, right_x - left_x)
    cos, sin = math.cos(angle), math.sin(angle)
    # Pixel i covers [i, i + 1): its centre is at i + 0.5.
    middle = side / 2 - 0.5
    x = center[0] - 0.5 - cos * middle + sin * middle
    y = center[1] - 0.5 - sin * middle - cos * middle
    to_source = np.array([[cos, -sin, x], [sin, cos, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(  # type: ignore[return-value]
        rgb, to_source, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _reduced(rgb: Picture, longest_px: int) -> tuple[Picture, Point]:
    """The picture no longer than `longest_px`, and what takes its x and y back."""
    height, width = rgb.shape[:2]
    factor = min(1.0, longest_px / max(height, width))
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR) if factor < 1 else rgb
    return small, (width / size[0], height / size[1])  # type: ignore[return-value]


def _scaled(box: Box, scale_xy: Point) -> Box:
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


def _read_cascade(
    path: Path, repairs: Mapping[str, str] = MappingProxyType({})
) -> cv2.CascadeClassifier:
    """A cascade that is not empty. Raises MediaError."""
    xml = _read_bytes(path).decode("utf-8", errors="replace")
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


def _takes_no_path(name: str, path: str | None) -> None:
    if path is not None:
        raise MediaError(f"Detector {name} takes no file, got {path!r}: write {name!r} alone.")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror}).") from None
