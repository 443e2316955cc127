"""Thumbnails of faces at the peak of each label."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import ByteArray
from emoscope.core.errors import EmoscopeError
from emoscope.core.results import Box, Timeline
from emoscope.media.video import read_frames

__all__ = ["Peak", "peaks", "read_thumbnails"]

THUMBNAIL_PX = 160
MARGIN = 0.25  # of the box's longer side, on each side
MAX_THUMBNAILS = 48  # each needs a seek in the video


@dataclass(frozen=True)
class Peak:
    """The row in which a label of one face was most probable, among labels that led in some row."""

    track: int
    label: str
    start_s: float
    end_s: float
    probability: float
    box: Box


def peaks(timeline: Timeline, track: int) -> tuple[Peak, ...]:
    """Find one peak for each label that led in some row of a face, ordered by time."""
    part = timeline.for_track(track)
    unordered = []
    for label in set(part.leading) - {""}:
        probs = part.probs[:, part.labels.index(label)]
        row = int(np.nanargmax(probs))
        start_s, end_s = part.spans_s[row].tolist()
        box = Box(*part.boxes_xyxy[row].tolist())
        unordered.append(Peak(track, label, start_s, end_s, float(probs[row]), box))
    return tuple(sorted(unordered, key=lambda peak: (peak.start_s, peak.label)))


def read_thumbnails(video: str | Path, wanted: Sequence[Peak]) -> dict[Peak, bytes]:
    """Read the faces at the first peaks as square JPEGs; unreadable ones are left out."""
    jpegs: dict[Peak, bytes] = {}
    for peak in sorted(wanted[:MAX_THUMBNAILS], key=lambda peak: peak.start_s):
        with suppress(EmoscopeError, OSError):
            # The times of a Timeline may have been rounded.
            frame = next(read_frames(video, start_s=max(0.0, peak.start_s - 1e-3)), None)
            jpeg = None if frame is None else _face(frame.rgb, peak.box)
            if jpeg is not None:
                jpegs[peak] = jpeg
    return jpegs


def _face(rgb: ByteArray, box: Box) -> bytes | None:
    """Cut out a square around the box as JPEG; None if the box is NaN or outside the picture."""
    if not np.isfinite(box).all():
        return None
    (x, y), reach = box.center, (0.5 + MARGIN) * max(box.width, box.height)
    height, width = rgb.shape[:2]
    left, right = (int(np.clip(x + side, 0, width)) for side in (-reach, reach))
    top, bottom = (int(np.clip(y + side, 0, height)) for side in (-reach, reach))
    side = min(right - left, bottom - top)
    if side < 1:
        return None
    # At the picture's edge the square is smaller, so that it needs no padding.
    left += (right - left - side) // 2
    top += (bottom - top - side) // 2
    crop = rgb[top : top + side, left : left + side]
    small = cv2.resize(crop, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return jpeg.tobytes()
