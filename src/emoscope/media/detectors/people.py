"""Bodies in a picture: the histogram-of-gradients detector of people that OpenCV carries."""

import cv2
import numpy as np

from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import DETECTORS, Detection, takes_no_path, without_nested

__all__ = ["HogDetector", "hog"]


class HogDetector:
    """Upright people, seen whole (Dalal and Triggs, CVPR 2005), with OpenCV's default weights.

    A box is the detector's window, half as wide as high: a person who fills three quarters of its
    height, and room for the limbs. The picture is sized to 320 px on its shorter side, so that the
    smallest person found is 0.3 of that side high."""

    _SHORT_PX, _LONG_PX = 320, 640
    # The window is wider than the person: without a border nobody near the edge is found.
    _BORDER = 0.1
    _STEP = 1.05  # of the sizes searched; with 1.1 many of the drawn walkers are missed
    _MIN_HITS = 4  # chance hits on photographs of textures have three

    def __init__(self) -> None:
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def detect(self, rgb: Picture) -> list[Detection]:
        """The people of a (H, W, 3) picture, surest first; the score grows with the number of
        windows that agree: n / (n + 2)."""
        gray, factor, border = self._prepared(rgb)
        found, _ = self._hog.detectMultiScale(
            gray, winStride=(8, 8), padding=(8, 8), scale=self._STEP, groupThreshold=0
        )
        # They come in the order in which OpenCV's threads find them; grouping depends on it.
        windows = sorted(np.reshape(found, (-1, 4)).tolist())
        groups, hits = cv2.groupRectangles(windows, self._MIN_HITS - 1, 0.2)
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
        """The picture grey, sized and with a border; its scale; the border in pixels."""
        short, long = sorted(rgb.shape[:2])
        factor = min(self._SHORT_PX / short, self._LONG_PX / long)
        size = (max(round(rgb.shape[1] * factor), 1), max(round(rgb.shape[0] * factor), 1))
        gray = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size)
        border = round(self._BORDER * self._SHORT_PX)
        # OpenCV 4.14 crashes where its window does not fit into the picture.
        width_px, height_px = self._hog.winSize
        below = max(border, height_px - gray.shape[0] - border)
        beside = max(border, width_px - gray.shape[1] - border)
        sides = (border, below, border, beside)
        return cv2.copyMakeBorder(gray, *sides, cv2.BORDER_REPLICATE), factor, border


@DETECTORS.register("hog")
def hog(path: str | None = None) -> HogDetector:
    """OpenCV's detector of people, for models that look at bodies: the default there.

    Finds people from 0.3 of the picture's shorter side: 216 px in 720p."""
    takes_no_path("hog", path)
    return HogDetector()
