"""Detectors of faces and people, by name. Each module of this package registers its own."""

from emoscope.core.errors import MediaError
from emoscope.media.detectors.base import (
    DETECTORS,
    Detection,
    Detector,
    DetectorEntry,
    DetectorPool,
)

__all__ = [
    "DETECTORS",
    "Detection",
    "Detector",
    "DetectorEntry",
    "DetectorPool",
    "create_detector",
]


def create_detector(choice: str) -> Detector:
    """Build the detector that a user names: "haar", "lbp", "lbp=PATH", "yunet=PATH", "hog", "none".

    A detector serves one thread at a time. Raises UnknownName, or MediaError where its file is
    missing, unreadable or not wanted.

    >>> import numpy as np
    >>> create_detector("haar").detect(np.zeros((240, 320, 3), dtype=np.uint8))
    []
    """
    name, _, path = choice.partition("=")
    entry = DETECTORS[name]
    if not path:
        return entry.build()
    if not entry.takes_file:
        raise MediaError(f"Detector {name} takes no file, got {path!r}. Write {name!r} alone.")
    return entry.build(path)
