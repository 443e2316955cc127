"""Classical descriptors of a whole clip: HOG along tracks, and block maxima of frame differences.

Both are named after baselines of Santhoshkumar & Geetha (both 2020): "Vision-Based Human Emotion
Recognition Using HOG-KLT Feature" and "Emotion Recognition on Multi View Static Action Videos Using
Multi Blocks Maximum Intensity Code (MB-MIC)". The names and their parts (HOG, KLT tracks; frame
differences, blocks, the largest intensity of each) are theirs. We had neither text: all layouts,
numbers and the pooling are ours. A pixel here is one of the frames as they are given.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from emoscope.core.arrays import BoolArray, ByteArray, Float32Array, Int64Array
from emoscope.core.errors import SpecError

__all__ = [
    "BLOCKS",
    "DIRECTIONS",
    "HOG_KLT_LENGTH",
    "MBMIC_LENGTH",
    "MOTION_SHAPE",
    "SEGMENTS",
    "SHAPE_PARTS",
    "hog_klt",
    "mbmic",
]


SEGMENTS = 6  # of a clip: short enough to tell a sudden rise from a gradual one
DIRECTIONS = 8
MOTION_SHAPE = (SEGMENTS, 3, 3, DIRECTIONS)  # segments, rows, columns of the frame, directions
SHAPE_PARTS = 3  # of a clip: what points look like changes less than where they go
BLOCKS = 8  # a side

_PATCH_PX, _CELL_PX, _ORIENTATIONS = 16, 8, 8
_HOG = (_PATCH_PX // _CELL_PX) ** 2 * _ORIENTATIONS
HOG_KLT_LENGTH = math.prod(MOTION_SHAPE) + SHAPE_PARTS * 2 * _HOG
MBMIC_LENGTH = SEGMENTS * BLOCKS**2

_MOST, _APART_PX, _QUALITY = 100, 5, 0.01  # corners
_RENEWED = 4  # every so many frames points are added where there are none
_WINDOW_PX, _LEVELS = 15, 2  # of the tracker: moves of up to some 20 px
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01)
_ASTRAY_PX = 0.5  # how far from its start a point may come back


@dataclass(frozen=True, eq=False)
class _Steps:
    """N steps of tracked points, each from one frame to the next."""

    time: Int64Array  # (N,) the frame it starts from
    track: Int64Array  # (N,) whose step it is
    start: Float32Array  # (N, 2) x, y in pixels
    move: Float32Array  # (N, 2) pixels
    look: Float32Array  # (N, _HOG) the patch about its start

    def within(self, part: slice) -> "_Steps":
        chosen = (self.time >= part.start) & (self.time < part.stop)
        return _Steps(
            self.time[chosen],
            self.track[chosen],
            self.start[chosen],
            self.move[chosen],
            self.look[chosen],
        )


def hog_klt(frames: ByteArray) -> Float32Array:
    """How points of a clip move and what they look like: (T, H, W, 3) RGB -> (HOG_KLT_LENGTH,).

    Corners (Shi & Tomasi, CVPR 1994) are followed by pyramidal Lucas-Kanade, dropped where the way
    back does not lead to where they came from, and found anew every few frames where there are
    none. Descriptors are read along the tracks (as by Wang et al., CVPR 2011):

    motion   MOTION_SHAPE: histograms of direction weighted by length, for each segment of the clip
             and each cell of the frame. They are divided by the steps in the cell: pixels a frame,
             however many points were found. Bin 0 is to the right, bin 2 down; a direction between
             two bins is shared by both. So it holds where, which way and when.
    shape    (SHAPE_PARTS, 2, .): the HOG (Dalal & Triggs, CVPR 2005; 2 x 2 cells of 8 unsigned
             orientations, L2-Hys, which light does not change) of the patch about a point,
             averaged along its track in each part of the clip; mean and standard deviation over
             tracks.

    Zero where nothing is tracked (one frame, a blank scene), motion also where all stands still.
    Raises SpecError.
    """
    grays = _grays(frames)
    steps = _follow(grays)
    motion = [
        _motion(steps.within(part), grays.shape[1:]) for part in _parts(len(grays) - 1, SEGMENTS)
    ]
    shape = [_shape(steps.within(part)) for part in _parts(len(grays) - 1, SHAPE_PARTS)]
    return np.concatenate([np.ravel(part) for part in (*motion, *shape)]).astype(np.float32)


def mbmic(frames: ByteArray) -> Float32Array:
    """Where and when a clip changes: (T, H, W, 3) RGB -> (MBMIC_LENGTH,) in [0, 1].

    (SEGMENTS, BLOCKS, BLOCKS), flat: the largest absolute difference of consecutive grey frames in
    each block of the frame during each segment of the clip. Zero for one frame. Raises SpecError.
    """
    grays = _grays(frames)
    num, height, width = grays.shape
    after, before = (part.reshape(-1, width) for part in (grays[1:], grays[:-1]))
    code = np.zeros((SEGMENTS, BLOCKS, BLOCKS), np.float32)
    if num > 1:
        changes = cv2.absdiff(after, before).reshape(num - 1, height, width)
        for axis, side in ((1, height), (2, width)):
            edges = np.arange(BLOCKS) * side // BLOCKS
            changes = np.maximum.reduceat(changes, edges, axis=axis)
        for segment, part in enumerate(_parts(num - 1, SEGMENTS)):
            code[segment] = changes[part].max(axis=0) / np.float32(255)
    return code.ravel()


def _parts(length: int, count: int) -> Iterator[slice]:
    """Equal parts of 0..length-1. One that a part's end falls on belongs to both, so that none is
    empty."""
    for i in range(count):
        yield slice(i * length // count, -(-(i + 1) * length // count))


def _follow(grays: ByteArray) -> _Steps:
    """Every step of every track."""
    points, tracks, known = np.zeros((0, 2), np.float32), np.zeros(0, np.int64), 0
    found: list[tuple[Any, ...]] = []
    for time, (before, after) in enumerate(itertools.pairwise(grays)):
        if time % _RENEWED == 0:
            new = _corners(before, points)
            points = np.concatenate([points, new])
            tracks = np.concatenate([tracks, known + np.arange(len(new))])
            known += len(new)
        if len(points):
            ends, held = _tracked(before, after, points)
            points, ends, tracks = points[held], ends[held], tracks[held]
            times = np.full(len(points), time)
            found.append((times, tracks, points, ends - points, _looks(before, points)))
            points = ends
    nothing = (np.zeros(0, np.int64), tracks[:0], points[:0], points[:0], _looks(grays[0], []))
    return _Steps(*(np.concatenate(column) for column in zip(nothing, *found, strict=True)))


def _corners(gray: ByteArray, taken: Float32Array) -> Float32Array:
    """(N, 2): the best corners away from those points, together at most _MOST."""
    if len(taken) >= _MOST:
        return taken[:0]
    free = np.full(gray.shape, 255, np.uint8)
    for x, y in taken.astype(int).tolist():
        cv2.circle(free, (x, y), _APART_PX, 0, cv2.FILLED)
    corners = cv2.goodFeaturesToTrack(gray, _MOST - len(taken), _QUALITY, _APART_PX, mask=free)
    if corners is None:
        return taken[:0]
    return np.asarray(corners, dtype=np.float32).reshape(-1, 2)


def _tracked(
    before: ByteArray, after: ByteArray, points: Float32Array
) -> tuple[Float32Array, BoolArray]:
    """Where N points are in the next frame (N, 2), and which of them can be believed (N,)."""
    ends, there = _lucas_kanade(before, after, points)
    back, again = _lucas_kanade(after, before, ends)
    inside = ((ends >= 0) & (ends <= np.array(before.shape[::-1]) - 1)).all(axis=1)
    close = np.abs(back - points).max(axis=1) < _ASTRAY_PX
    return ends, there & again & inside & close


def _lucas_kanade(
    before: ByteArray, after: ByteArray, points: Float32Array
) -> tuple[Float32Array, BoolArray]:
    ends, status, _ = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        points[:, None],
        np.zeros_like(points[:, None]),  # written to
        winSize=(_WINDOW_PX, _WINDOW_PX),
        maxLevel=_LEVELS,
        criteria=_STOP,
    )
    return np.asarray(ends, dtype=np.float32)[:, 0], status[:, 0] > 0


def _looks(gray: ByteArray, points: Any) -> Float32Array:
    """(N, 2) -> (N, _HOG)."""
    if len(points) == 0:
        return np.zeros((0, _HOG), np.float32)
    corners = np.rint(points).astype(int) - _PATCH_PX // 2
    patch, cell = (_PATCH_PX, _PATCH_PX), (_CELL_PX, _CELL_PX)
    hog = cv2.HOGDescriptor(patch, patch, cell, cell, _ORIENTATIONS)
    places = [(x, y) for x, y in corners.tolist()]
    # Padded by a patch, so that those at the frame's edge have one, too.
    values = hog.compute(gray, winStride=cell, padding=patch, locations=places)
    return np.asarray(values, dtype=np.float32).reshape(len(places), _HOG)


def _motion(steps: _Steps, size_hw: tuple[int, ...]) -> Float32Array:
    """(rows, columns, DIRECTIONS) pixels a frame."""
    _, rows, columns, _ = MOTION_SHAPE
    x, y = steps.start.T
    row = (y * rows / size_hw[0]).astype(int).clip(0, rows - 1)
    column = (x * columns / size_hw[1]).astype(int).clip(0, columns - 1)
    length = np.hypot(*steps.move.T)
    place = np.arctan2(steps.move[:, 1], steps.move[:, 0]) * (DIRECTIONS / (2 * np.pi))
    lower = np.floor(place).astype(int)
    upper_share = place - lower
    histogram = np.zeros((rows, columns, DIRECTIONS), np.float32)
    np.add.at(histogram, (row, column, lower % DIRECTIONS), length * (1 - upper_share))
    np.add.at(histogram, (row, column, (lower + 1) % DIRECTIONS), length * upper_share)
    count = np.bincount(row * columns + column, minlength=rows * columns)
    return histogram / count.reshape(rows, columns, 1).clip(min=1)


def _shape(steps: _Steps) -> Float32Array:
    """(2, _HOG): mean and standard deviation over tracks."""
    if len(steps.track) == 0:
        return np.zeros((2, _HOG), np.float32)
    tracks, whose, count = np.unique(steps.track, return_inverse=True, return_counts=True)
    along = np.zeros((len(tracks), _HOG), np.float32)
    np.add.at(along, whose, steps.look)
    along /= count[:, None]
    return np.stack([along.mean(axis=0), along.std(axis=0)])


def _grays(frames: ByteArray) -> ByteArray:
    """(T, H, W, 3) -> (T, H, W)."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise SpecError(
            f"Frames are (T, H, W, 3) RGB uint8, T >= 1, got {frames.shape} of {frames.dtype}."
        )
    num, height, width, _ = frames.shape
    high = np.ascontiguousarray(frames).reshape(num * height, width, 3)  # all in one call
    return np.asarray(cv2.cvtColor(high, cv2.COLOR_RGB2GRAY), np.uint8).reshape(num, height, width)
