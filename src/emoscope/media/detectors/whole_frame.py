"""No detection: the whole picture is the face."""

from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import DETECTORS, Detection, DetectorEntry

__all__ = ["WholeFrame"]


class WholeFrame:
    """No detection: the picture shows one face (or body) and nothing else."""

    def detect(self, rgb: Picture) -> list[Detection]:
        """One box, as large as the picture."""
        height, width = rgb.shape[:2]
        return [Detection(Box(0.0, 0.0, float(width), float(height)), 1.0)]


DETECTORS.add("none", DetectorEntry(WholeFrame, regions={"face", "body", "frame"}))
