"""How fast a training goes, and the time that is left."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable

__all__ = ["Pace"]

_WARM_UP = 3  # batches that are not counted: kernels are compiled, loaders start
_ENOUGH = 8  # counted batches for an estimate
_RECENT = 200  # counted batches that an estimate is made of


class Pace:
    """Estimates the time left by the medians of recent batches and of pauses between epochs.

    The first epoch, in which clips are read into memory, does not count once there is another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mark_s = clock()
        self._first_s: deque[float] = deque(maxlen=_RECENT)  # batches of the first epoch
        self._later_s: deque[float] = deque(maxlen=_RECENT)
        self._pauses_s: list[float] = []  # hold-out and checkpoint after an epoch
        self._done = 0

    def epoch_started(self) -> None:
        """Call it before the first batch of an epoch."""
        now_s = self._clock()
        if self._done:
            self._pauses_s.append(now_s - self._mark_s)
        self._mark_s = now_s

    def batch_done(self) -> None:
        """Call it after every batch."""
        now_s = self._clock()
        self._done += 1
        if self._done > _WARM_UP:
            batches_s = self._later_s if self._pauses_s else self._first_s
            batches_s.append(now_s - self._mark_s)
        self._mark_s = now_s

    def seconds_left(self, batches: int, epochs: int) -> float:
        """Estimate the time for further batches with the pauses of further epochs.

        NaN until enough batches have been measured."""
        if batches == 0:
            return 0.0
        has_enough = len(self._later_s) >= _ENOUGH
        measured_s = [*(() if has_enough else self._first_s), *self._later_s]
        if len(measured_s) < _ENOUGH:
            return math.nan
        pauses_s = self._pauses_s[1:] or self._pauses_s or [0.0]
        return batches * statistics.median(measured_s) + epochs * statistics.median(pauses_s)
