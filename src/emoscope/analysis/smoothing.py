"""Smoothing of live rows, equal to `Timeline.smooth` on the rows of a whole video."""

import numpy as np

from emoscope.core.results import Timeline

__all__ = ["Smoother"]

_INSTANT_S = 1e-9


class Smoother:
    """Smooths rows that arrive in consecutive parts, over a window of `window_s` seconds.

    A row is final when later rows reach half a window past its middle, or at the end."""

    def __init__(self, window_s: float) -> None:
        self._window_s, self._reach_s = window_s, window_s / 2 + _INSTANT_S
        self._kept: Timeline | None = None  # rows that a window may still need
        self._given = 0  # number of these already returned

    def push(self, part: Timeline) -> list[Timeline]:
        """Add the next rows. Returns the smoothed rows that have become final."""
        kept = part if self._kept is None else Timeline.concatenate([self._kept, part])
        self._kept = kept
        middle_s, end_s = kept.spans_s.mean(axis=1), kept.spans_s[-1, 1]
        final = int(np.searchsorted(middle_s, end_s - self._reach_s))
        if final <= self._given:
            return []
        rows = kept.smooth(self._window_s).rows(slice(self._given, final))
        next_s = middle_s[final] if final < len(kept) else end_s
        spent = int(np.searchsorted(middle_s, next_s - self._reach_s))
        self._kept, self._given = kept.rows(slice(spent, None)), final - spent
        return [rows]

    def finish(self) -> list[Timeline]:
        """The remaining rows, after the last part."""
        kept, given, self._kept = self._kept, self._given, None
        if kept is None or given >= len(kept):
            return []
        return [kept.smooth(self._window_s).rows(slice(given, None))]
