"""YuNet, a small convolutional network that detects faces and their eyes."""

import math
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import Picture
from emoscope.core.errors import MediaError
from emoscope.core.results import Box
from emoscope.media.detectors.base import (
    DETECTORS,
    Detection,
    DetectorEntry,
    Point,
    read_bytes,
    reduced,
    scaled,
)

__all__ = ["YuNetDetector"]


class YuNetDetector:
    """YuNet (Wu et al., Machine Intelligence Research 2023): best on turned and small faces.

    Also locates the eyes. `path` is a face_detection_yunet ONNX file, run by OpenCV's
    FaceDetectorYN. The picture is reduced to 480 px; the smallest face found is about 10 px wide
    there (27 px in 720p). Raises MediaError."""

    _LONGEST_PX = 480
    # OpenCV 4.14 returns boxes of infinite size for pictures of up to 32 px on one side.
    _MIN_PX = 64
    _MIN_SCORE = 0.6
    # Median side of the Haar box over sqrt(width * height) of YuNet's, on the sample clips.
    _SIDE = 1.05

    def __init__(self, path: str | Path | None = None) -> None:
        if path is None:
            raise MediaError(
                "Detector yunet needs a model file. Write yunet=PATH, e.g. "
                "yunet=face_detection_yunet.onnx."
            )
        model = np.frombuffer(read_bytes(Path(path)), dtype=np.uint8)
        nothing = np.empty(0, dtype=np.uint8)
        try:
            self._net = cv2.FaceDetectorYN.create(
                "onnx", model, nothing, (64, 64), self._MIN_SCORE, 0.3, 100
            )
            self._net.detect(np.zeros((64, 64, 3), dtype=np.uint8))  # fails for any other network
        except cv2.error as error:
            raise MediaError(
                f"{path}: not a YuNet model that OpenCV {cv2.__version__} can run ({error.err}). "
                "Give a face_detection_yunet .onnx file."
            ) from None

    def detect(self, rgb: Picture) -> list[Detection]:
        """Faces in a (H, W, 3) picture with their eyes, highest score first; scores are YuNet's."""
        small, scale_xy = reduced(rgb, self._LONGEST_PX)
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        below, beside = (max(self._MIN_PX - side, 0) for side in small.shape[:2])
        bgr = cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._net.detect(bgr)
        faces = [] if rows is None else [self._detection(row, scale_xy) for row in rows.tolist()]
        return sorted(faces, key=lambda face: -face.score)

    def _detection(self, row: list[float], scale_xy: Point) -> Detection:
        x, y, width, height = row[:4]
        half = self._SIDE * math.sqrt(max(width, 1.0) * max(height, 1.0)) / 2
        center_x, center_y = x + width / 2, y + height / 2
        box = Box(center_x - half, center_y - half, center_x + half, center_y + half)
        scale_x, scale_y = scale_xy
        one, other = sorted(
            [(row[4] * scale_x, row[5] * scale_y), (row[6] * scale_x, row[7] * scale_y)]
        )
        return Detection(scaled(box, scale_xy), row[14], (one, other))


DETECTORS.add("yunet", DetectorEntry(YuNetDetector, regions={"face"}, takes_file=True))
