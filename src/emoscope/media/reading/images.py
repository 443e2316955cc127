"""Still pictures: one file, or a folder of numbered ones."""

import re
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from emoscope.core.errors import MediaError
from emoscope.media.reading.pixels import fit

__all__ = ["IMAGE_SUFFIXES", "is_image", "natural_key", "numbered_images", "read_image"]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def is_image(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def numbered_images(folder: Path) -> list[Path]:
    """The images of a folder, in the order of the numbers in their names: 2 comes before 10.

    Hidden files and everything that is not an image are passed over. Raises MediaError if none
    is left."""
    try:
        found = [p for p in folder.iterdir() if is_image(p) and not p.name.startswith(".")]
    except OSError as error:
        raise MediaError(f"{folder}: {error.strerror}. Check its permissions.") from None
    if not found:
        kinds = " ".join(IMAGE_SUFFIXES)
        raise MediaError(f"{folder}: the folder holds no images. Give one that does ({kinds}).")
    return sorted(found, key=lambda p: (natural_key(p.stem.casefold()), p.name))


def natural_key(name: str) -> list[str | int]:
    """Sorts names by the numbers in them: 2 comes before 10."""
    # The split alternates text and digits, so two keys never compare a word with a number.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def read_image(path: Path, max_side: int | None = None) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 RGB, turned as its EXIF says, no side longer than `max_side`.

    Grey is repeated, 16 bits are scaled to 8, alpha is dropped. Raises MediaError if it cannot
    be decoded."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}. Check the path.") from None
    if not data.size:
        raise MediaError(f"{path}: the file is empty. Copy or download it again.")
    bgr = _decoded(data)
    if bgr is None:
        raise MediaError(f"{path}: not an image, or cut off. Check that the file is complete.")
    height, width = bgr.shape[:2]
    if max_side is not None and max(height, width) > max_side:
        bgr = cv2.resize(bgr, fit(width, height, max_side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _decoded(data: NDArray[np.uint8]) -> MatLike | None:
    """(H, W, 3) uint8 BGR, or None; in silence, for the reason is told by the error we raise."""
    start, end = data[:4].tobytes(), data[-64:].tobytes()
    if start == b"\x89PNG" and b"IEND" not in end:
        return None  # libpng would say so on stderr, past OpenCV's own logging
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
