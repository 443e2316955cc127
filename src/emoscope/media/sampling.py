"""Rules that select frames of a clip. Every rule returns indices into the clip."""

from collections.abc import Sequence

import numpy as np

from emoscope.core.arrays import Int64Array
from emoscope.core.clipspec import Last, Offsets, Sampling, Uniform
from emoscope.core.errors import SpecError

__all__ = [
    "grid_indices",
    "grid_slack_s",
    "last_indices",
    "offset_indices",
    "sample_indices",
    "sliding_windows",
    "uniform_indices",
]


def uniform_indices(
    num_frames: int, length: int, rng: np.random.Generator | None = None
) -> Int64Array:
    """Select one frame from each of `length` equal segments -> (length,).

    It is the centre of its segment, or with `rng` a random frame of it (temporal jitter; Zhang et
    al. 2017, used by Tahghighi et al.). A clip of fewer frames is taken whole and its last frame
    repeated. Raises SpecError for a clip without frames.

    >>> from emoscope.media.sampling import uniform_indices
    >>> uniform_indices(40, 4)
    array([ 5, 15, 25, 35])
    >>> uniform_indices(2, 4)
    array([0, 1, 1, 1])
    """
    _need_frames(num_frames)
    if num_frames < length:
        return np.minimum(np.arange(length), num_frames - 1)
    within = np.full(length, 0.5) if rng is None else rng.random(length)
    picked = np.floor((np.arange(length) + within) * num_frames / length).astype(np.int64)
    return np.minimum(picked, num_frames - 1)


def last_indices(num_frames: int, length: int) -> Int64Array:
    """Select the last `length` frames -> (length,). A shorter clip repeats its first frame."""
    _need_frames(num_frames)
    return np.maximum(np.arange(num_frames - length, num_frames), 0)


def offset_indices(num_frames: int, offsets: Sequence[int]) -> Int64Array:
    """Select the frames at `offsets` -> (len(offsets),).

    Negative offsets count from the end. Offsets outside a short clip are clipped to its ends."""
    _need_frames(num_frames)
    indices = np.asarray(offsets, dtype=np.int64)
    return np.clip(np.where(indices < 0, indices + num_frames, indices), 0, num_frames - 1)


def sliding_windows(num_frames: int, length: int, stride: int = 1) -> Int64Array:
    """Select blocks of `length` consecutive frames, `stride` apart -> (N, length).

    A clip shorter than one block gives one block that repeats its last frame."""
    _need_frames(num_frames)
    if length < 1 or stride < 1:
        raise SpecError(f"length and stride must be at least 1, got {length} and {stride}.")
    starts = np.arange(0, max(num_frames - length, 0) + 1, stride)
    return np.minimum(starts[:, None] + np.arange(length), num_frames - 1)


def grid_indices(times_s: Sequence[float], rate_hz: float) -> Int64Array:
    """Select the frame shown at each instant of a regular time grid -> (N,).

    The grid runs from the first frame to the last. The frame shown at an instant is the latest one
    that started by then, apart from a slack of a millisecond for rounded timestamps; long frames
    are repeated."""
    times = np.asarray(times_s, dtype=np.float64)
    _need_frames(len(times))
    slack_s = grid_slack_s(rate_hz)
    steps = int(np.floor((times[-1] - times[0] + slack_s) * rate_hz)) + 1
    instants = times[0] + np.arange(steps) / rate_hz
    return np.searchsorted(times, instants + slack_s, side="right") - 1


def grid_slack_s(rate_hz: float) -> float:
    """Time after an instant of the grid by which a frame may start and still be shown at it."""
    # Matroska timestamps are whole milliseconds: a frame's may be one after its instant.
    return min(1.001e-3, 0.1 / rate_hz)


def sample_indices(
    sampling: Sampling, num_frames: int, rng: np.random.Generator | None = None
) -> Int64Array:
    """Apply a ClipSpec's sampling rule -> (sampling.length,). `rng` is used for jitter only."""
    match sampling:
        case Uniform(length=length, jitter=jitter):
            return uniform_indices(num_frames, length, rng if jitter else None)
        case Last(length=length):
            return last_indices(num_frames, length)
        case Offsets(offsets=offsets):
            return offset_indices(num_frames, offsets)


def _need_frames(num_frames: int) -> None:
    if num_frames < 1:
        raise SpecError("A clip needs at least one frame, got none.")
