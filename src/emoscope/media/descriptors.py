"""Classical descriptors of a whole clip: HOG along KLT tracks, and block maxima of differences.

They follow two baselines of Santhoshkumar & Geetha (both 2020): "Vision-Based Human Emotion
Recognition Using HOG-KLT Feature" and "Emotion Recognition on Multi View Static Action Videos Using
Multi Blocks Maximum Intensity Code (MB-MIC)". The full texts were not available: the names and the
ingredients (HOG, KLT tracks; frame differences, maxima of blocks) are theirs, all layouts, sizes
and the pooling are ours. Pixels are those of the given frames.
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


SEGMENTS = 6  # per clip: short enough to tell a sudden rise from a gradual one
DIRECTIONS = 8
MOTION_SHAPE = (SEGMENTS, 3, 3, DIRECTIONS)  # segments, rows, columns of the frame, directions
SHAPE_PARTS = 3  # per clip: appearance changes less than motion
BLOCKS = 8  # per side of the frame

_PATCH_PX, _CELL_PX, _ORIENTATIONS = 16, 8, 8
_HOG = (_PATCH_PX // _CELL_PX) ** 2 * _ORIENTATIONS
HOG_KLT_LENGTH = math.prod(MOTION_SHAPE) + SHAPE_PARTS * 2 * _HOG
MBMIC_LENGTH = SEGMENTS * BLOCKS**2

_MAX_POINTS, _MIN_DISTANCE_PX, _QUALITY = 100, 5, 0.01  # of corner detection
_DETECT_EVERY = 4  # frames between two detections of further corners
_WINDOW_PX, _LEVELS = 15, 2  # of the tracker: follows moves of up to about 20 px
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01)
_MAX_RETURN_ERROR_PX = 0.5  # of a point tracked forwards and back


@dataclass(frozen=True, eq=False)
class _Steps:
    """N steps of tracked points, each from one frame to the next."""

    time: Int64Array  # (N,) index of the frame where the step starts
    track: Int64Array  # (N,) index of the track
    start: Float32Array  # (N, 2) x, y in pixels
    move: Float32Array  # (N, 2) x, y in pixels
    hog: Float32Array  # (N, _HOG) of the patch around the start

    def within(self, part: slice) -> "_Steps":
        inside = (self.time >= part.start) & (self.time < part.stop)
        return _Steps(
            self.time[inside],
            self.track[inside],
            self.start[inside],
            self.move[inside],
            self.hog[inside],
        )


def hog_klt(frames: ByteArray) -> Float32Array:
    """Describe motion and appearance of tracked points, (T, H, W, 3) RGB -> (HOG_KLT_LENGTH,).

    Corners (Shi & Tomasi, CVPR 1994) are tracked by pyramidal Lucas-Kanade. A point is dropped if
    tracking it back misses its start; every few frames further corners are added where there are
    no points. Two descriptors are computed along the tracks (as in Wang et al., CVPR 2011):

    motion   MOTION_SHAPE: a histogram of directions weighted by length, for each segment of the
             clip and each cell of the frame, divided by the number of steps in the cell: pixels
             per frame, for any number of points. Bin 0 is right, bin 2 down; a direction
             between two bins is shared by both.
    shape    (SHAPE_PARTS, 2, .): HOG (Dalal & Triggs, CVPR 2005; 2 x 2 cells of 8 unsigned
             orientations, L2-Hys, invariant to brightness and contrast) of the patch around a
             point, averaged along its track in each part of the clip; mean and standard deviation
             over tracks.

    Zero if no point is tracked (a single frame, a blank scene). Raises SpecError for other shapes.
    """
    grays = _grays(frames)
    steps = _follow(grays)
    motion = [
        _motion(steps.within(part), grays.shape[1:]) for part in _parts(len(grays) - 1, SEGMENTS)
    ]
    shape = [_shape(steps.within(part)) for part in _parts(len(grays) - 1, SHAPE_PARTS)]
    return np.concatenate([np.ravel(part) for part in (*motion, *shape)]).astype(np.float32)


def mbmic(frames: ByteArray) -> Float32Array:
    """Describe where and when a clip changes, (T, H, W, 3) RGB -> (MBMIC_LENGTH,) in [0, 1].

    The largest absolute difference of consecutive grey frames in each block of the frame and each
    segment of the clip, flattened from (SEGMENTS, BLOCKS, BLOCKS). Zero for a single frame. Raises
    SpecError for other shapes.
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
    """Divide 0..length-1 into equal parts. They share an index on a border, so none is empty."""
    for i in range(count):
        yield slice(i * length // count, -(-(i + 1) * length // count))


def _follow(grays: ByteArray) -> _Steps:
    """Track points through the clip (T, H, W)."""
    points, tracks, num_tracks = np.zeros((0, 2), np.float32), np.zeros(0, np.int64), 0
    steps: list[tuple[Any, ...]] = []
    for time, (before, after) in enumerate(itertools.pairwise(grays)):
        if time % _DETECT_EVERY == 0:
            new = _corners(before, points)
            points = np.concatenate([points, new])
            tracks = np.concatenate([tracks, num_tracks + np.arange(len(new))])
            num_tracks += len(new)
        if len(points):
            ends, is_reliable = _tracked(before, after, points)
            points, ends, tracks = points[is_reliable], ends[is_reliable], tracks[is_reliable]
            times = np.full(len(points), time)
            steps.append((times, tracks, points, ends - points, _hogs(before, points)))
            points = ends
    empty = (np.zeros(0, np.int64), tracks[:0], points[:0], points[:0], _hogs(grays[0], []))
    return _Steps(*(np.concatenate(column) for column in zip(empty, *steps, strict=True)))


def _corners(gray: ByteArray, points: Float32Array) -> Float32Array:
    """Detect corners (N, 2) away from `points`, at most _MAX_POINTS together."""
    if len(points) >= _MAX_POINTS:
        return points[:0]
    free = np.full(gray.shape, 255, np.uint8)
    for x, y in points.astype(int).tolist():
        cv2.circle(free, (x, y), _MIN_DISTANCE_PX, 0, cv2.FILLED)
    corners = cv2.goodFeaturesToTrack(
        gray, _MAX_POINTS - len(points), _QUALITY, _MIN_DISTANCE_PX, mask=free
    )
    if corners is None:
        return points[:0]
    return np.asarray(corners, dtype=np.float32).reshape(-1, 2)


def _tracked(
    before: ByteArray, after: ByteArray, points: Float32Array
) -> tuple[Float32Array, BoolArray]:
    """Positions (N, 2) of points in the next frame, and whether each is reliable (N,)."""
    ends, tracked_forwards = _lucas_kanade(before, after, points)
    returned, tracked_back = _lucas_kanade(after, before, ends)
    inside = ((ends >= 0) & (ends <= np.array(before.shape[::-1]) - 1)).all(axis=1)
    close = np.abs(returned - points).max(axis=1) < _MAX_RETURN_ERROR_PX
    return ends, tracked_forwards & tracked_back & inside & close


def _lucas_kanade(
    before: ByteArray, after: ByteArray, points: Float32Array
) -> tuple[Float32Array, BoolArray]:
    ends, status, _ = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        points[:, None],
        np.zeros_like(points[:, None]),  # output buffer
        winSize=(_WINDOW_PX, _WINDOW_PX),
        maxLevel=_LEVELS,
        criteria=_STOP,
    )
    return np.asarray(ends, dtype=np.float32)[:, 0], status[:, 0] > 0


def _hogs(gray: ByteArray, points: Any) -> Float32Array:
    """HOG of the patch around each point, (N, 2) -> (N, _HOG)."""
    if len(points) == 0:
        return np.zeros((0, _HOG), np.float32)
    corners = np.rint(points).astype(int) - _PATCH_PX // 2
    patch, cell = (_PATCH_PX, _PATCH_PX), (_CELL_PX, _CELL_PX)
    hog = cv2.HOGDescriptor(patch, patch, cell, cell, _ORIENTATIONS)
    places = [(x, y) for x, y in corners.tolist()]
    # Padding by a patch covers points at the frame's edge.
    values = hog.compute(gray, winStride=cell, padding=patch, locations=places)
    return np.asarray(values, dtype=np.float32).reshape(len(places), _HOG)


def _motion(steps: _Steps, size_hw: tuple[int, ...]) -> Float32Array:
    """Histograms of directions (rows, columns, DIRECTIONS) in pixels per frame."""
    _, rows, columns, _ = MOTION_SHAPE
    x, y = steps.start.T
    row = (y * rows / size_hw[0]).astype(int).clip(0, rows - 1)
    column = (x * columns / size_hw[1]).astype(int).clip(0, columns - 1)
    length = np.hypot(*steps.move.T)
    position = np.arctan2(steps.move[:, 1], steps.move[:, 0]) * (DIRECTIONS / (2 * np.pi))
    lower = np.floor(position).astype(int)
    upper_share = position - lower
    histogram = np.zeros((rows, columns, DIRECTIONS), np.float32)
    np.add.at(histogram, (row, column, lower % DIRECTIONS), length * (1 - upper_share))
    np.add.at(histogram, (row, column, (lower + 1) % DIRECTIONS), length * upper_share)
    count = np.bincount(row * columns + column, minlength=rows * columns)
    return histogram / count.reshape(rows, columns, 1).clip(min=1)


def _shape(steps: _Steps) -> Float32Array:
    """Mean and standard deviation over tracks (2, _HOG)."""
    if len(steps.track) == 0:
        return np.zeros((2, _HOG), np.float32)
    tracks, inverse, count = np.unique(steps.track, return_inverse=True, return_counts=True)
    per_track = np.zeros((len(tracks), _HOG), np.float32)
    np.add.at(per_track, inverse, steps.hog)
    per_track /= count[:, None]
    return np.stack([per_track.mean(axis=0), per_track.std(axis=0)])


def _grays(frames: ByteArray) -> ByteArray:
    """Convert frames (T, H, W, 3) to grey (T, H, W). Raises SpecError for other shapes."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise SpecError(
            f"Frames must be (T, H, W, 3) RGB uint8, T >= 1, got {frames.shape} {frames.dtype}."
        )
    num, height, width, _ = frames.shape
    tall = np.ascontiguousarray(frames).reshape(num * height, width, 3)  # one call for all frames
    return np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY), np.uint8).reshape(num, height, width)
