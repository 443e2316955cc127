"""People in a picture: OpenCV's histogram-of-oriented-gradients detector."""

import cv2
import numpy as np

from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import DETECTORS, Detection, DetectorEntry, without_nested

__all__ = ["HogDetector"]


class HogDetector:
    """OpenCV's detector of upright people seen whole (Dalal and Triggs, CVPR 2005).

    A box is the detector's window, half as wide as it is high. The person fills three quarters of
    its height, which leaves room for the limbs. The picture is resized to 320 px on its shorter
    side; the smallest person found is 0.3 of that side high (216 px in 720p)."""

    _SHORT_PX, _LONG_PX = 320, 640
    # The window is wider than the person: without a border nobody near the edge is detected.
    _BORDER = 0.1
    _STEP = 1.05  # ratio of one size searched to the next; 1.1 misses many of the drawn walkers
    _MIN_HITS = 4  # false positives on photographs of textures have 3

    def __init__(self) -> None:
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def detect(self, rgb: Picture) -> list[Detection]:
        """People in a (H, W, 3) picture, highest score first.

        The score is n / (n + 2) for n windows that agree."""
        gray, factor, border = self._prepared(rgb)
        windows, _ = self._hog.detectMultiScale(
            gray, winStride=(8, 8), padding=(8, 8), scale=self._STEP, groupThreshold=0
        )
        # Grouping depends on the order of the windows, and theirs on OpenCV's threads: sort them.
        ordered = sorted(np.reshape(windows, (-1, 4)).tolist())
        groups, hits = cv2.groupRectangles(ordered, self._MIN_HITS - 1, 0.2)
        people = [
            Detection(Box(x, y, x + w, y + h).scaled(1 / factor), n / (n + 2.0))
            for (x, y, w, h), n in zip(
                (np.reshape(groups, (-1, 4)) - (border, border, 0, 0)).tolist(),
                np.ravel(hits).tolist(),
                strict=True,
            )
        ]
        return without_nested(people)

    def _prepared(self, rgb: Picture) -> tuple[cv2.typing.MatLike, float, int]:
        """Resize, convert to grey, add a border; also return the scale and the border in pixels."""
        short, long = sorted(rgb.shape[:2])
        factor = min(self._SHORT_PX / short, self._LONG_PX / long)
        size = (max(round(rgb.shape[1] * factor), 1), max(round(rgb.shape[0] * factor), 1))
        gray = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size)
        border = round(self._BORDER * self._SHORT_PX)
        # OpenCV 4.14 crashes where its window is larger than the picture.
        width_px, height_px = self._hog.winSize
        below = max(border, height_px - gray.shape[0] - border)
        beside = max(border, width_px - gray.shape[1] - border)
        sides = (border, below, border, beside)
        return cv2.copyMakeBorder(gray, *sides, cv2.BORDER_REPLICATE), factor, border


DETECTORS.add("hog", DetectorEntry(HogDetector, regions={"body"}))
