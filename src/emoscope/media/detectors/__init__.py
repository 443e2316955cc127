"""What finds faces or people in a picture, by name."""

from emoscope.media.detectors import (  # noqa: F401  # each registers its own
    cascades,
    people,
    whole_frame,
    yunet,
)
from emoscope.media.detectors.base import DETECTORS, Detection, Detector

__all__ = ["DETECTORS", "Detection", "Detector", "create_detector"]


def create_detector(choice: str) -> Detector:
    """The detector a user names: "haar", "lbp", "lbp=PATH", "lbp-classic", "yunet=PATH", "none".

    Raises UnknownName, or MediaError where its file is missing or not what it reads."""
    name, _, path = choice.partition("=")
    return DETECTORS[name](path or None)
