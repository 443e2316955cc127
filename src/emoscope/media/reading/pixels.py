"""Decoded pictures to RGB: any pixel format and depth, the right way up, at most so large."""

import re
import struct
from functools import cache
from typing import NamedTuple, Self, cast

import cv2
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from cv2.typing import MatLike
from numpy.typing import NDArray

__all__ = ["Converter", "Orientation", "fit"]

_UNSPECIFIED = 2  # of FFmpeg's AVColorSpace, as all these:
_KNOWN_MATRICES = frozenset({0, 1, 3, 4, 5, 6, 7, 9})  # RGB, BT.709 ... BT.2020; 3 is reserved
# AREA sees every pixel, the faster kinds pass over some and alias.
_SHRINK = Interpolation.AREA | Interpolation.ACCURATE_RND
_COLOUR = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT  # without which white may be 253
_SD_PX = (1024, 576)  # the largest picture of standard definition
_FLIP_CODE = {(True, False): 1, (False, True): 0, (True, True): -1}  # OpenCV's
# transpose, mirror_x, mirror_y of a counter-clockwise turn
_BY_QUARTER_TURNS = (
    (False, False, False),
    (True, False, True),
    (False, True, True),
    (True, True, False),
)


def fit(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """Width and height of a picture whose longer side is at most `max_side`, its shape kept."""
    longer = max(width, height)
    if max_side is None or longer <= max_side:
        return width, height
    scale = max_side / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


class Orientation(NamedTuple):
    """How a stored picture is turned for display: transposed first, then mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Self:
        """From the display matrix, to the nearest quarter turn: x' = ax + cy, y' = bx + dy."""
        try:
            matrix = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV lists none of a frame's side data if it does not know one kind
            return cls(*_BY_QUARTER_TURNS[round(frame.rotation / 90) % 4])
        if matrix is None:
            return cls()
        assert isinstance(matrix, SideData)
        a, b, _, c, d = struct.unpack("5i", bytes(matrix)[:20])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as displayed."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) as stored to (H', W', 3) as displayed, contiguous."""
        turned: MatLike = np.ascontiguousarray(rgb)
        if self.transpose:
            turned = cv2.transpose(turned)
        if self.mirror_x or self.mirror_y:
            turned = cv2.flip(turned, _FLIP_CODE[self.mirror_x, self.mirror_y])
        return cast("NDArray[np.uint8]", turned)


class Converter:
    """Decoded frames to RGB. Keeps swscale's tables between frames, so one serves a whole file."""

    def __init__(self, max_side: int | None = None) -> None:
        self._max_side = max_side
        self._shrinker, self._colourer = VideoReformatter(), VideoReformatter()
        self._orientations: dict[int, Orientation] = {}  # by the rotation that PyAV tells
        _keep_freed_memory()

    def rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, as displayed. Matrix and range are those the file states."""
        width, height = fit(frame.width, frame.height, self._max_side)
        matrix = _matrix(frame)
        # Shrinking and rounding to 8 bits first, in YUV, leaves the rest to swscale's fast path:
        # two to four times cheaper than all at once.
        small = self._shrinker.reformat(
            frame,
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
        rgb = cast("NDArray[np.uint8]", converted.to_ndarray())
        if converted is frame:  # it was RGB already, and the decoder may still refer to it
            rgb = rgb.copy()
        return self._orientation(frame).apply(rgb)

    def _orientation(self, frame: VideoFrame) -> Orientation:
        # Once for a whole file: a frame whose side data was read refers to itself, and stays in
        # memory until Python next looks for such circles. That is a hundred frames at times.
        known = self._orientations.get(frame.rotation)
        if known is None:
            known = self._orientations[frame.rotation] = Orientation.of(frame)
        return known


def _keep_freed_memory() -> None:
    """Have the C library keep what a frame took for the next one, which halves the wall time.

    glibc hands freed memory back to the system beyond twice the largest block of up to 32 MiB
    that it has seen freed; every frame is then fetched anew, page by page, and all of the
    decoder's threads wait. One such block, never touched, settles it; elsewhere it does nothing."""
    np.empty(30 * 2**20, np.uint8)


@cache
def _in_8_bits(pixel_format: str) -> str:
    """The 8-bit kin of a deeper planar YUV format; any other as it is."""
    deep = re.fullmatch(r"(yuv4\d\dp)\d+[lb]e", pixel_format)
    return deep[1] if deep else pixel_format


def _matrix(frame: VideoFrame) -> int | None:
    """The colour matrix to use instead of the one that the file states, if any.

    BT.709 for high definition that states none, as players take it; swscale would take BT.601.
    BT.601 also for what swscale refuses (YCgCo and rarer): wrong colours, but a picture."""
    if frame.colorspace == _UNSPECIFIED:
        if frame.width > _SD_PX[0] or frame.height > _SD_PX[1]:
            return Colorspace.ITU709
        return None
    return None if frame.colorspace in _KNOWN_MATRICES else Colorspace.ITU601
