"""Read animated WebP images, for which FFmpeg has no decoder."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import ByteArray
from emoscope.core.errors import MediaError
from emoscope.media.reading.images import check_size, silent_opencv

__all__ = ["animated_webp", "webp_durations_s"]

_BLOCK_BYTES = 1 << 27  # of frames that are decoded at a time
_DEFAULT_MS = 100  # a frame without a duration, as browsers show it


def webp_durations_s(path: Path) -> list[float]:
    """Seconds that each frame of an animated WebP is shown. Raises MediaError if it has none."""
    data = path.read_bytes()
    start, milliseconds = 12, []
    while start + 24 <= len(data):
        if data[start : start + 4] == b"ANMF":
            milliseconds.append(int.from_bytes(data[start + 20 : start + 23], "little"))
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        start += 8 + size + size % 2
    if not milliseconds:
        raise _unreadable(path)
    return [(length or _DEFAULT_MS) / 1000 for length in milliseconds]


def animated_webp(path: Path) -> Iterator[ByteArray]:
    """Decode the frames of an animated WebP as (H, W, 3) RGB uint8; alpha is dropped.

    Raises MediaError if it cannot be decoded or is larger than 200 million pixels."""
    data, total = np.fromfile(path, dtype=np.uint8)[None], len(webp_durations_s(path))
    check_size(path, data)
    first, length = 0, 1
    while first < total:
        with silent_opencv():
            try:
                is_decoded, animation = cv2.imdecodeanimation(data, first, length)
            except cv2.error:
                is_decoded = False
        if not is_decoded or not animation.frames:
            raise _unreadable(path)
        for frame in animation.frames:
            code = cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else cv2.COLOR_BGR2RGB
            yield np.asarray(cv2.cvtColor(frame, code), dtype=np.uint8)
        first += len(animation.frames)
        length = max(1, _BLOCK_BYTES // animation.frames[0].nbytes)


def _unreadable(path: Path) -> MediaError:
    return MediaError(f"{path}: not an image, or cut off. Check that the file is complete.")
