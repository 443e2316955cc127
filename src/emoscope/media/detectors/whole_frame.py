"""For pictures that are faces already."""

from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import DETECTORS, Detection, takes_no_path

__all__ = ["WholeFrame", "none"]


class WholeFrame:
    """For pictures that are faces already: one detection, all of the picture."""

    def detect(self, rgb: Picture) -> list[Detection]:
        """One box, as large as the picture."""
        height, width = rgb.shape[:2]
        return [Detection(Box(0.0, 0.0, float(width), float(height)), 1.0)]


@DETECTORS.register("none")
def none(path: str | None = None) -> WholeFrame:
    """No detection: the frame is the face."""
    takes_no_path("none", path)
    return WholeFrame()
