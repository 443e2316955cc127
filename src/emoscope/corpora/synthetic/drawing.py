"""Drawing primitives of synthetic clips, on a canvas of 1 x 1 with x to the right and y down."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from emoscope.core.arrays import FloatArray, Picture

__all__ = ["Colour", "bump", "cloud", "colour", "ellipse", "fill", "grid", "shaded"]

Colour = tuple[float, float, float]  # RGB, 0 to 255

_SHIFT = 4  # binary places of OpenCV's coordinates
_ANGLES = np.linspace(0, 2 * np.pi, 36, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def fill(
    picture: Picture, outline: FloatArray | Sequence[tuple[float, float]], paint: Colour | float
) -> None:
    """Fill a polygon (N, 2), in fractions of the picture's side, with smooth edges."""
    points = np.asarray(outline) * picture.shape[0] * 2**_SHIFT
    rounded = [np.round(points).astype(np.int32)]
    cv2.fillPoly(picture, rounded, paint, cv2.LINE_AA, _SHIFT)


def ellipse(x: float, y: float, half_width: float, half_height: float) -> FloatArray:
    """The outline of an ellipse: (N, 2)."""
    return np.array([x, y]) + _CIRCLE * (half_width, half_height)


def grid(side: int) -> tuple[FloatArray, FloatArray]:
    """x and y of the pixels of a canvas: (1, side) and (side, 1)."""
    places = (np.arange(side, dtype=np.float32) + 0.5) / side
    return places[None, :], places[:, None]


def bump(side: int, x: float, y: float, width: float, height: float) -> FloatArray:
    """A Gaussian bump of height 1: (side, side)."""
    across, down = grid(side)
    return np.exp(-(((across - x) / width) ** 2)) * np.exp(-(((down - y) / height) ** 2))


def cloud(seed: int, side: int, cells: int) -> FloatArray:
    """Smooth texture of about unit variance: (side, side), with `cells` patches per side."""
    coarse = np.random.default_rng((seed, cells)).standard_normal((cells, cells), np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def colour(rgb: Iterable[float]) -> Colour:
    """A colour (or a direction) from three numbers."""
    red, green, blue = (float(value) for value in rgb)
    return red, green, blue


def shaded(paint: Colour, tone: float) -> Colour:
    """A colour in stronger or weaker light."""
    return colour(min(value * tone, 255.0) for value in paint)
