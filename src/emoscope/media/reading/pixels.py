"""Convert decoded frames of any pixel format and depth to upright RGB of limited size.

Pixels are square afterwards: a frame is stretched in width as its sample aspect ratio says.
Interlaced frames are shown by their first field, whose missing lines are interpolated: no combs on
what moves, at half the vertical resolution.
"""

import re
import struct
from fractions import Fraction
from functools import cache
from typing import NamedTuple, Self, cast

import cv2
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from cv2.typing import MatLike

from emoscope.core.arrays import ByteArray

__all__ = ["Converter", "Orientation", "fit", "shrunk"]

# A ratio closer to 1 comes from cropping and is not worth an interpolation; beyond the range of
# real formats (half-D1 has up to 2.9) it is damaged.
_SQUARE, _MAX_ASPECT = 0.01, 5.0

# Values of FFmpeg's AVColorSpace.
_UNSPECIFIED = 2
_KNOWN_MATRICES = frozenset({0, 1, 3, 4, 5, 6, 7, 9})  # RGB, BT.709 ... BT.2020; 3 is reserved
# AREA uses every pixel; faster methods skip some, which causes aliasing.
_SHRINK = Interpolation.AREA | Interpolation.ACCURATE_RND
_COLOUR = (
    Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT
)  # without FULL_CHR_H_INT, white can become 253
_SD_PX = (1024, 576)  # largest frame of standard definition
_FLIP_CODE = {(True, False): 1, (False, True): 0, (True, True): -1}  # OpenCV's
# transpose, mirror_x, mirror_y of counter-clockwise rotations
_BY_QUARTER_TURNS = (
    (False, False, False),
    (True, False, True),
    (False, True, True),
    (True, True, False),
)


def fit(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """Scale a size down so that the longer side is at most `max_side`, keeping the aspect ratio."""
    longer = max(width, height)
    if max_side is None or longer <= max_side:
        return width, height
    scale = max_side / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


def shrunk(rgb: ByteArray, max_side: int | None) -> ByteArray:
    """Scale (H, W, 3) down so that no side exceeds `max_side`."""
    height, width = rgb.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return rgb
    size = fit(width, height, max_side)
    return cast("ByteArray", cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


class Orientation(NamedTuple):
    """How a stored frame is rotated for display: transposed first, then mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Self:
        """Read the display matrix (x' = ax + cy, y' = bx + dy), rounded to quarter turns."""
        try:
            matrix = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV fails on a frame with an unknown kind of side data
            return cls(*_BY_QUARTER_TURNS[round(frame.rotation / 90) % 4])
        if matrix is None:
            return cls()
        assert isinstance(matrix, SideData)
        a, b, _, c, d = struct.unpack("5i", bytes(matrix)[:20])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height as displayed."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, rgb: ByteArray) -> ByteArray:
        """Rotate (H, W, 3) as stored to (H', W', 3) as displayed, contiguous."""
        rotated: MatLike = np.ascontiguousarray(rgb)
        if self.transpose:
            rotated = cv2.transpose(rotated)
        if self.mirror_x or self.mirror_y:
            rotated = cv2.flip(rotated, _FLIP_CODE[self.mirror_x, self.mirror_y])
        return cast("ByteArray", rotated)


class Converter:
    """Converts decoded frames to RGB. One per file: swscale's tables are kept between frames.

    max_side   limit of the longer side
    aspect     the file's sample aspect ratio: width of a pixel by its height; None or 0 if unknown
    """

    def __init__(self, max_side: int | None = None, aspect: Fraction | None = None) -> None:
        self._max_side = max_side
        self._aspect = float(aspect or 1)
        if abs(self._aspect - 1) <= _SQUARE or not 1 / _MAX_ASPECT <= self._aspect <= _MAX_ASPECT:
            self._aspect = 1.0
        self._shrinker, self._colourer = VideoReformatter(), VideoReformatter()
        self._fields: dict[tuple[int, int, str], Graph] = {}
        self._orientations: dict[int, Orientation] = {}  # by PyAV's rotation
        _keep_freed_memory()

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height of a frame as displayed: with square pixels, upright."""
        return self._orientation(frame).size(*self._square(frame))

    def rgb(self, frame: VideoFrame) -> ByteArray:
        """Convert to (H, W, 3) uint8 as displayed, with the colour matrix and range of the file."""
        width, height = fit(*self._square(frame), self._max_side)
        matrix = _matrix(frame)
        # Shrinking and rounding to 8 bits in YUV first lets swscale use its fast path for the rest:
        # two to four times faster than a single call.
        small = self._shrinker.reformat(
            self._first_field(frame) if frame.interlaced_frame else frame,
            width=width,
            height=height,
            format=_in_8_bits(frame.format.name),
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=_SHRINK,
            threads=1,  # the decoder keeps the other cores busy
        )
        converted = self._colourer.reformat(
            small,
            format="rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=_COLOUR,
            threads=1,
        )
        rgb = cast("ByteArray", converted.to_ndarray())
        if converted is frame:  # it was RGB already, and the decoder may still use its memory
            rgb = rgb.copy()
        return self._orientation(frame).apply(rgb)

    def _square(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height of a frame with square pixels, as stored."""
        return max(1, round(frame.width * self._aspect)), frame.height

    def _first_field(self, frame: VideoFrame) -> VideoFrame:
        """Every other line of a frame. No pixel is copied."""
        key = frame.width, frame.height, frame.format.name
        if key not in self._fields:
            graph = self._fields[key] = Graph()
            source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, 1000),
            )
            graph.link_nodes(source, graph.add("field", "top"), graph.add("buffersink")).configure()
        self._fields[key].vpush(frame)
        return self._fields[key].vpull()

    def _orientation(self, frame: VideoFrame) -> Orientation:
        # Cached: reading a frame's side data creates a reference cycle, which keeps the frame in
        # memory until the next garbage collection, at times for a hundred frames.
        orientation = self._orientations.get(frame.rotation)
        if orientation is None:
            orientation = self._orientations[frame.rotation] = Orientation.of(frame)
        return orientation


def _keep_freed_memory() -> None:
    """Make glibc reuse the memory of freed frames, which halves the wall time.

    glibc returns freed memory to the system beyond twice the largest block, of up to 32 MiB, that
    was freed before; then every frame causes page faults while the decoder's threads wait. Freeing
    one such block, whose pages are never touched, raises the limit. No effect elsewhere."""
    np.empty(30 * 2**20, np.uint8)


@cache
def _in_8_bits(pixel_format: str) -> str:
    """Return the 8-bit variant of a deeper planar YUV format; other formats are unchanged."""
    deep = re.fullmatch(r"(yuv4\d\dp)\d+[lb]e", pixel_format)
    return deep[1] if deep else pixel_format


def _matrix(frame: VideoFrame) -> int | None:
    """Colour matrix that overrides the one of the file; None to keep it.

    BT.709 for high definition without a stated matrix, as players do; swscale would use BT.601.
    BT.601 for matrices that swscale does not support (YCgCo and rarer): approximate colours."""
    if frame.colorspace == _UNSPECIFIED:
        if frame.width > _SD_PX[0] or frame.height > _SD_PX[1]:
            return Colorspace.ITU709
        return None
    return None if frame.colorspace in _KNOWN_MATRICES else Colorspace.ITU601
