"""Rows that arrive live, averaged as `Timeline.smooth` averages the rows of a whole film."""

from collections.abc import Iterable, Iterator

import numpy as np

from emoscope.core.results import Timeline

__all__ = ["smoothed"]

_INSTANT_S = 1e-9


def smoothed(parts: Iterable[Timeline], window_s: float) -> Iterator[Timeline]:
    """The rows of `parts`, which follow each other in time, each row as soon as it is final: when
    rows have arrived that reach half a window past its middle, or at the end."""
    kept: Timeline | None = None  # the rows that a window may still need
    given = 0  # of these
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
