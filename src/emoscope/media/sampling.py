"""Which frames of a clip a model looks at. Every rule returns indices into the clip."""

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
    """One frame from each of `length` equal segments -> (length,): the segment's centre, or with
    `rng` a random one (temporal jitter; Zhang et al. 2017, used by Tahghighi et al.). A clip of
    fewer frames is taken whole and its last frame repeated."""
    _need_frames(num_frames)
    if num_frames < length:
        return np.minimum(np.arange(length), num_frames - 1)
    within = np.full(length, 0.5) if rng is None else rng.random(length)
    picked = np.floor((np.arange(length) + within) * num_frames / length).astype(np.int64)
    return np.minimum(picked, num_frames - 1)


def last_indices(num_frames: int, length: int) -> Int64Array:
    """The last `length` frames -> (length,). A shorter clip repeats its first frame in front."""
    _need_frames(num_frames)
    return np.maximum(np.arange(num_frames - length, num_frames), 0)


def offset_indices(num_frames: int, offsets: Sequence[int]) -> Int64Array:
    """The frames at `offsets`, negative ones from the end -> (len(offsets),). An offset beyond a
    short clip becomes its nearest end."""
    _need_frames(num_frames)
    wanted = np.asarray(offsets, dtype=np.int64)
    return np.clip(np.where(wanted < 0, wanted + num_frames, wanted), 0, num_frames - 1)


def sliding_windows(num_frames: int, length: int, stride: int = 1) -> Int64Array:
    """Every block of `length` consecutive frames, `stride` apart -> (N, length). A clip shorter
    than one block gives one block that repeats its last frame."""
    _need_frames(num_frames)
    if length < 1 or stride < 1:
        raise SpecError(f"length and stride must be at least 1, got {length} and {stride}")
    starts = np.arange(0, max(num_frames - length, 0) + 1, stride)
    return np.minimum(starts[:, None] + np.arange(length), num_frames - 1)


def grid_indices(times_s: Sequence[float], rate_hz: float) -> Int64Array:
    """The frame shown at each instant of a regular grid from the first frame to the last -> (N,).

    The frame shown at an instant is the latest one that began by then, so that a frame which a
    variable rate holds for long is repeated and none is taken from the future, but for the
    millisecond to which some containers round."""
    times = np.asarray(times_s, dtype=np.float64)
    _need_frames(len(times))
    slack_s = grid_slack_s(rate_hz)
    steps = int(np.floor((times[-1] - times[0] + slack_s) * rate_hz)) + 1
    instants = times[0] + np.arange(steps) / rate_hz
    return np.searchsorted(times, instants + slack_s, side="right") - 1


def grid_slack_s(rate_hz: float) -> float:
    """How long after an instant of a grid a frame may begin and be shown at it."""
    # Matroska's clock ticks in milliseconds: a frame's stamp may lie one after its instant.
    return min(1.001e-3, 0.1 / rate_hz)


def sample_indices(
    sampling: Sampling, num_frames: int, rng: np.random.Generator | None = None
) -> Int64Array:
    """Carry out a ClipSpec's rule -> (sampling.length,). `rng` matters to jitter only."""
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
