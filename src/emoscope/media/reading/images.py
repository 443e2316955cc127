"""Read images: a single file, or a folder of numbered ones."""

import math
import re
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from emoscope.core.arrays import ByteArray
from emoscope.core.errors import MediaError, ReadError
from emoscope.media.limits import MAX_PICTURE_PIXELS
from emoscope.media.reading.container import existing
from emoscope.media.reading.headers import is_cut_off, picture_size

__all__ = [
    "IMAGE_SUFFIXES",
    "UNREADABLE_SUFFIXES",
    "check_size",
    "film_images",
    "is_animated",
    "is_animated_webp",
    "is_film",
    "is_image",
    "natural_key",
    "numbered_images",
    "read_image",
    "silent_opencv",
]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
UNREADABLE_SUFFIXES = (".avif", ".heic", ".heif", ".jxl")  # images that cannot be decoded
_HEAD_BYTES = 1 << 16  # a colour profile may come before the chunk that is looked for
_COMPARED = 8  # images of a folder whose sizes are compared


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


def is_animated(path: Path) -> bool:
    """Whether a file is a PNG or WebP with several frames."""
    if path.suffix.lower() not in (".png", ".webp"):
        return False
    head = _head(path)
    if not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _has_animation_flag(head)
    before_pixels = head.partition(b"IDAT")[0]
    _, chunk, content = before_pixels.partition(b"acTL")
    return bool(chunk) and int.from_bytes(content[:4], "big") > 1


def is_animated_webp(path: Path) -> bool:
    """Whether a file is a WebP with several frames."""
    return path.suffix.lower() == ".webp" and _has_animation_flag(_head(path))


def film_images(folder: Path) -> list[Path]:
    """List the images of a folder that are the frames of one film, in order.

    Raises MediaError if there are none, or if they are separate pictures."""
    images = numbered_images(folder)
    if len(images) > 1 and not is_film(images):
        raise MediaError(
            f"{folder}: its {len(images)} pictures are not a numbered sequence of one size. Analyse"
            " them one by one."
        )
    return images


def is_film(images: Sequence[Path]) -> bool:
    """Whether the images of a folder are the frames of one film rather than separate pictures.

    Their names differ in one number, which counts up in equal steps; one in ten may be missing.
    Their sizes are equal: those of the first, the last and some between are compared. None is
    animated."""
    if len(images) < 2:
        return False
    parts = [re.split(r"(\d+)", path.name.casefold()) for path in images]
    if len({len(words) for words in parts}) > 1:
        return False
    columns = [
        {int(word) if word.isdecimal() else word for word in column}
        for column in zip(*parts, strict=True)
    ]
    varying = [column for column in columns if len(column) > 1]
    if len(varying) != 1 or not all(isinstance(value, int) for value in varying[0]):
        return False
    numbers = sorted(int(value) for value in varying[0])
    if len(numbers) < len(images):  # 1 and 01
        return False
    step = math.gcd(*(b - a for a, b in pairwise(numbers)))
    missing = (numbers[-1] - numbers[0]) // step + 1 - len(images)
    if missing > len(images) // 10 or (len(images) == 2 and step > 1):
        return False
    if any(map(is_animated, images)):
        return False
    compared = np.linspace(0, len(images) - 1, min(len(images), _COMPARED)).round().astype(int)
    sizes = {_reduced_size(images[i]) for i in compared} - {None}
    return len(sizes) <= 1


def _reduced_size(path: Path) -> tuple[int, int] | None:
    """Height and width of an image, divided by 8; None if it cannot be read."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
        check_size(path, data)
        picture = _decoded(data, cv2.IMREAD_REDUCED_COLOR_8)
    except (MediaError, OSError, MemoryError):
        return None
    return None if picture is None else (picture.shape[0], picture.shape[1])


def natural_key(name: str) -> list[str | int]:
    """Sort key that orders names by the numbers in them: 2 comes before 10."""
    # The split alternates text and digits, so comparing two keys never mixes the two.
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def read_image(path: Path) -> ByteArray:
    """Read an image as (H, W, 3) RGB uint8, rotated as its EXIF data says.

    Grey is repeated to three channels, 16 bits are scaled to 8, alpha is dropped. Raises MediaError
    if it cannot be decoded, is cut off or larger than 200 million pixels, ReadError if the system
    cannot read it."""
    existing(path)
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror}. Check the path.") from None
    if not data.size:
        raise MediaError(f"{path}: the file is empty. Copy or download it again.")
    check_size(path, data)
    try:
        bgr = _decoded(data)
    except MemoryError:
        raise ReadError(f"{path}: not enough memory to decode it. Free some memory.") from None
    if bgr is None:
        raise MediaError(f"{path}: not an image, or cut off. Check that the file is complete.")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def check_size(path: Path, data: ByteArray) -> None:
    """Raise MediaError for a picture larger than MAX_PICTURE_PIXELS, before it is decoded."""
    size = picture_size(data.tobytes())
    if size is not None and size[0] * size[1] > MAX_PICTURE_PIXELS:
        raise MediaError(
            f"{path}: its header states {size[0]} x {size[1]} pixels, and at most"
            f" {MAX_PICTURE_PIXELS // 10**6} million are read. Scale it down."
        )


def _decoded(data: ByteArray, flags: int = cv2.IMREAD_COLOR) -> MatLike | None:
    """Decode to (H, W, 3) BGR uint8, or None on failure, without output on stderr.

    Raises MemoryError."""
    if is_cut_off(data.tobytes()):
        return None  # OpenCV may return the upper part, and libpng write to stderr
    with silent_opencv():
        try:
            return cv2.imdecode(data, flags)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from None
            return None


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""  # opening a pipe would wait; reading it reports what is wrong
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""  # reading the file reports what is wrong


def _has_animation_flag(head: bytes) -> bool:
    is_extended = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20
    return is_extended and bool(head[20] & 2)


class _Silence:
    """Switches off OpenCV's logging, one setting for all threads, while any thread needs it."""

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


def silent_opencv() -> AbstractContextManager[None]:
    """Let OpenCV log nothing."""
    return _SILENCE
