"""Read images: a single file, or a folder of numbered ones."""

import re
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from emoscope.core.arrays import ByteArray
from emoscope.core.errors import MediaError, ReadError
from emoscope.media.reading.container import existing

__all__ = ["IMAGE_SUFFIXES", "is_image", "natural_key", "numbered_images", "read_image"]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def is_image(path: Path) -> bool:
    """Whether a path has the suffix of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def numbered_images(folder: Path) -> list[Path]:
    """List the images of a folder, sorted by the numbers in their names: 2 comes before 10.

    Hidden files and other kinds of files are ignored. Raises MediaError if there are none."""
    try:
        images = [p for p in folder.iterdir() if is_image(p) and not p.name.startswith(".")]
    except OSError as error:
        raise ReadError(f"{folder}: {error.strerror}. Check its permissions.") from None
    if not images:
        suffixes = " ".join(IMAGE_SUFFIXES)
        raise MediaError(f"{folder}: the folder has no images. Give one that has ({suffixes}).")
    return sorted(images, key=lambda p: (natural_key(p.stem.casefold()), p.name))


def natural_key(name: str) -> list[str | int]:
    """Sort key that orders names by the numbers in them: 2 comes before 10."""
    # The split alternates text and digits, so comparing two keys never mixes the two.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def read_image(path: Path) -> ByteArray:
    """Read an image as (H, W, 3) RGB uint8, rotated as its EXIF data says.

    Grey is repeated to three channels, 16 bits are scaled to 8, alpha is dropped. Raises MediaError
    if it cannot be decoded or is cut off, ReadError if the system cannot read it."""
    existing(path)
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror}. Check the path.") from None
    if not data.size:
        raise MediaError(f"{path}: the file is empty. Copy or download it again.")
    bgr = _decoded(data)
    if bgr is None:
        raise MediaError(f"{path}: not an image, or cut off. Check that the file is complete.")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _decoded(data: ByteArray) -> MatLike | None:
    """Decode to (H, W, 3) BGR uint8, or None on failure, without output on stderr."""
    if _is_cut_off(data.tobytes()):
        return None  # OpenCV may return the upper part, and libpng write to stderr
    try:
        with _SILENCE:
            return cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG has no end after its last scan, or a PNG has a damaged chunk or no last one.

    Other damage inside a JPEG cannot be recognised: it has no checksum."""
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    position, kind = 8, b""
    while kind != b"IEND" and position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        end = position + 8 + length
        if zlib.crc32(data[position + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return True
        position = end + 4
    return kind != b"IEND"


class _Silence:
    """Switches off OpenCV's logging, which is one setting for all threads, while any needs it."""

    def __init__(self) -> None:
        self._lock, self._users, self._level = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._level = cv2.utils.logging.getLogLevel()
                cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                cv2.utils.logging.setLogLevel(self._level)


_SILENCE = _Silence()
