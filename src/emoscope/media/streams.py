"""Frame checks, resizing and normalisation, shared by `clips` and `clip_stream`."""

import cv2
import numpy as np

from emoscope.core.arrays import ByteArray, Float32Array
from emoscope.core.clipspec import Normalisation
from emoscope.core.errors import SpecError

__all__ = ["check_frame", "gray", "normalised", "resized", "unit"]


def check_frame(frame: ByteArray) -> None:
    """Check that a frame is (H, W, 3) uint8. Raises SpecError."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise SpecError(f"A frame must be (H, W, 3) RGB uint8, got {frame.shape} {frame.dtype}.")


def resized(frame: ByteArray, size_hw: tuple[int, int]) -> ByteArray:
    """Resize (H, W, 3) -> (h, w, 3), by area averaging if both sides shrink, else bilinearly."""
    height, width = size_hw
    if frame.shape[:2] == size_hw:
        return frame
    shrinks = frame.shape[0] >= height and frame.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (width, height), interpolation=method), dtype=np.uint8)


def unit(pictures: ByteArray) -> Float32Array:
    """Convert uint8 to float32 in [0, 1]."""
    return pictures.astype(np.float32) / np.float32(255)


def gray(picture: ByteArray) -> ByteArray:
    """Convert (H, W, 3) RGB to grey (H, W, 1)."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)[..., None]


def normalised(values: Float32Array, how: Normalisation) -> Float32Array:
    """Normalise a stream, (T, H, W, C) -> (T, C, H, W).

    Unless `how.per_clip` is set, frames are normalised independently of each other."""
    if how.limit is not None:
        values = values.clip(-how.limit, how.limit)
    if how.per_clip:
        # In float32 the mean of equal values is inexact, and their deviation not zero.
        center, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        values = (values - center) / (spread if spread > 1e-6 else 1)
    mean = np.asarray(how.mean, dtype=np.float32)
    std = np.asarray(how.std, dtype=np.float32)
    values = np.asarray((values - mean) / std, dtype=np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
