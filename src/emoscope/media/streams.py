"""From sized pictures to the numbers of a stream: what a whole clip and a sliding window share."""

import cv2
import numpy as np

from emoscope.core.arrays import ByteArray, Float32Array
from emoscope.core.clipspec import Normalisation
from emoscope.core.errors import SpecError

__all__ = ["check_frame", "gray", "normalised", "resized", "unit"]


def check_frame(frame: ByteArray) -> None:
    """Raises SpecError for anything but (H, W, 3) uint8."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise SpecError(f"A frame is (H, W, 3) RGB uint8, got {frame.shape} of {frame.dtype}.")


def resized(frame: ByteArray, size_hw: tuple[int, int]) -> ByteArray:
    """(H, W, 3) -> (h, w, 3): averaged where it shrinks, interpolated where it grows."""
    height, width = size_hw
    if frame.shape[:2] == size_hw:
        return frame
    shrinks = frame.shape[0] >= height and frame.shape[1] >= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (width, height), interpolation=how), dtype=np.uint8)


def unit(pictures: ByteArray) -> Float32Array:
    """Bytes to [0, 1]."""
    return pictures.astype(np.float32) / np.float32(255)


def gray(picture: ByteArray) -> ByteArray:
    """(H, W, 3) RGB -> (H, W, 1)."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)[..., None]


def normalised(values: Float32Array, how: Normalisation) -> Float32Array:
    """(T, H, W, C) -> (T, C, H, W) by the stream's normalisation. But for `per_clip`, what becomes
    of a frame does not depend on the others."""
    if how.limit is not None:
        values = values.clip(-how.limit, how.limit)
    if how.per_clip:
        # In float32 the mean of equal values misses them, and their spread is not 0.
        center, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        values = (values - center) / (spread if spread > 1e-6 else 1)
    mean = np.asarray(how.mean, dtype=np.float32)
    std = np.asarray(how.std, dtype=np.float32)
    values = np.asarray((values - mean) / std, dtype=np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
