"""Drawing of sheets: enlarged pictures with heat maps and titles, in rows, with a caption."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import AnyArray, FloatArray, Picture
from emoscope.media.files import replacing
from emoscope.training.explain.names import Source, with_source

__all__ = [
    "captioned",
    "columns_for",
    "enlarged",
    "heated",
    "in_rows",
    "titled",
    "width_of",
    "write_png",
    "zoom",
]

Colour = tuple[int, int, int]

_MIN_TILE_PX = 224  # height of a tile
_STRIP_PX, _LINE_PX, _EDGE_PX = 20, 24, 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DARK: Colour = (22, 26, 30)
_LIGHT: Colour = (235, 235, 235)
_SCALE_PX = 330  # width of the colour scale with its labels
_OPACITY = 0.85  # of the maximum
_MAX_ROW_TILES = 6  # that fit into one row


def write_png(path: Path, picture: Picture, source: Source) -> None:
    """Write a PNG file that states its source, atomically. Raises MediaError."""
    _, png = cv2.imencode(".png", picture[:, :, ::-1])
    with replacing(path) as part:
        part.write_bytes(with_source(png.tobytes(), source))


def zoom(height: int) -> int:
    """The whole-number factor by which pictures of this height are enlarged."""
    return math.ceil(_MIN_TILE_PX / height)


def enlarged(frame: Picture) -> Picture:
    """Enlarge a picture to at least the height of a tile."""
    height, width = frame.shape[:2]
    factor = zoom(height)
    size = (factor * width, factor * height)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def heated(frame: Picture, heat: FloatArray) -> Picture:
    """Enlarge a frame and blend its heat map over it; at 0 the frame is unchanged."""
    large = enlarged(frame)
    height, width = large.shape[:2]
    scaled = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    share = _OPACITY * scaled[..., None]
    mixed = (1 - share) * large + share * _coloured(scaled)
    return mixed.round().astype(np.uint8)


def columns_for(tiles: int) -> int:
    """The number of columns for a sheet wider than high, with the fewest gaps."""
    if tiles <= _MAX_ROW_TILES:
        return tiles
    narrowest, widest = math.ceil(math.sqrt(tiles)), math.ceil(math.sqrt(3 * tiles))
    return min(range(narrowest, widest + 1), key=lambda columns: -tiles % columns)


def in_rows(tiles: Sequence[Picture], columns: int) -> Picture:
    """Arrange tiles of one size in reading order."""
    blank = np.full_like(tiles[0], _DARK)
    padded = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    return np.vstack(rows)


def titled(picture: Picture, title: str) -> Picture:
    """Add a line of text above a picture."""
    strip = np.full((_STRIP_PX, picture.shape[1], 3), _DARK, dtype=np.uint8)
    _put(strip, title, (4, _STRIP_PX - 6), 0.42)
    return np.vstack([strip, picture])


def captioned(picture: Picture, *lines: str, heat: bool = False, min_width_px: int = 0) -> Picture:
    """Add lines of text below a picture, the first one larger, and the scale of heat maps."""
    height = picture.shape[0] + _LINE_PX * (len(lines) + heat) + 2 * _EDGE_PX
    width = max(picture.shape[1], width_of(lines), min_width_px, _SCALE_PX if heat else 0)
    canvas = np.full((height, width, 3), _DARK, dtype=np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    top = picture.shape[0] + _EDGE_PX
    for i, line in enumerate(lines):
        _put(canvas, line, (_EDGE_PX, top + i * _LINE_PX + 17), _scale(i))
    if heat:
        _put_scale(canvas, top + len(lines) * _LINE_PX)
    return canvas


def width_of(lines: Sequence[str]) -> int:
    """Width of a caption in pixels."""
    sizes = (cv2.getTextSize(line, _FONT, _scale(i), 1) for i, line in enumerate(lines))
    return max(int(width) for (width, _), _ in sizes) + 2 * _EDGE_PX


def _coloured(heat: AnyArray) -> Picture:
    scaled = (255 * heat).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)[..., ::-1], dtype=np.uint8)


def _scale(line: int) -> float:
    """Font scale of a caption's line."""
    return 0.6 if line == 0 else 0.46


def _put_scale(canvas: Picture, top: int) -> None:
    """Draw the colour scale, from 0 to the maximum of the clip."""
    for text, x in (("none", _EDGE_PX), ("strongest of the clip", _EDGE_PX + 165)):
        _put(canvas, text, (x, top + 16), 0.42)
    ramp = np.tile(np.linspace(0, 1, 110, dtype=np.float32), (12, 1))
    share = _OPACITY * ramp[..., None]
    grey = np.full((*ramp.shape, 3), 128.0)
    left = _EDGE_PX + 45
    canvas[top + 6 : top + 18, left : left + 110] = (1 - share) * grey + share * _coloured(ramp)


def _put(picture: Picture, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, at, _FONT, scale, _LIGHT, 1, cv2.LINE_AA)
