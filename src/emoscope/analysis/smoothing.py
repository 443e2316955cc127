"""Smoothing of live rows, equal to `Timeline.smooth` on the rows of a whole video."""

from collections.abc import Iterable, Iterator

import numpy as np

from emoscope.core.results import Timeline

__all__ = ["smoothed"]

_INSTANT_S = 1e-9


def smoothed(parts: Iterable[Timeline], window_s: float) -> Iterator[Timeline]:
    """Yield the smoothed rows of consecutive `parts`, each row as soon as it is final.

    A row is final when later rows reach half a window past its middle, or at the end."""
    kept: Timeline | None = None  # rows that a window may still need
    given = 0  # number of these already yielded
    reach_s = window_s / 2 + _INSTANT_S
    for part in parts:
        kept = part if kept is None else Timeline.concatenate([kept, part])
        middle_s, end_s = kept.spans_s.mean(axis=1), kept.spans_s[-1, 1]
        final = int(np.searchsorted(middle_s, end_s - reach_s))
        if final > given:
            yield kept.smooth(window_s).rows(slice(given, final))
            next_s = middle_s[final] if final < len(kept) else end_s
            spent = int(np.searchsorted(middle_s, next_s - reach_s))
            kept, given = kept.rows(slice(spent, None)), final - spent
    if kept is not None and given < len(kept):
        yield kept.smooth(window_s).rows(slice(given, None))
