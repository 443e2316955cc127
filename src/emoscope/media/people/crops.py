"""Square crops around faces and bodies."""

import math

import cv2
import numpy as np

from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import Eyes, Point

__all__ = ["crop_face"]


def crop_face(
    rgb: Picture,
    box: Box,
    *,
    margin: float = 0.0,
    eyes: Eyes | None = None,
    roll: float = 0.0,
) -> Picture:
    """Crop a square around a face or a body: (H, W, 3) uint8 -> (S, S, 3) uint8, a copy.

    The square is centred on the box; S = max(width, height) * (1 + 2 * margin), rounded. Outside
    the picture its edge is repeated. With `eyes` (left, right in the picture) the square is rotated
    about its centre so that they are level; without, so that a head tilted clockwise by `roll`
    degrees is upright."""
    side = max(round(max(box.width, box.height) * (1 + 2 * margin)), 1)
    if eyes is not None:
        (left_x, left_y), (right_x, right_y) = eyes
        roll = math.degrees(math.atan2(right_y - left_y, right_x - left_x))
    if eyes is not None or roll:
        return _turned_crop(rgb, box.center, side, roll)
    center_x, center_y = box.center
    x, y = math.floor(center_x - side / 2 + 0.5), math.floor(center_y - side / 2 + 0.5)
    height, width = rgb.shape[:2]
    if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
        return rgb[y : y + side, x : x + side].copy()
    columns = np.clip(np.arange(x, x + side), 0, width - 1)
    rows = np.clip(np.arange(y, y + side), 0, height - 1)
    return rgb[rows[:, None], columns]


def _turned_crop(rgb: Picture, center: Point, side: int, roll: float) -> Picture:
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    # Pixel i covers [i, i + 1): its centre is at i + 0.5.
    middle = side / 2 - 0.5
    x = center[0] - 0.5 - cos * middle + sin * middle
    y = center[1] - 0.5 - sin * middle - cos * middle
    to_source = np.array([[cos, -sin, x], [sin, cos, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(  # type: ignore[return-value]
        rgb, to_source, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
