"""Rows of equal label as one stretch; short ones given to their neighbours."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from emoscope.core.arrays import FloatArray

__all__ = ["Stretch", "absorb_short", "stretches"]


class Stretch(NamedTuple):
    """Rows of one label that touch in time."""

    label: int
    first: int
    last: int  # rows, both inclusive
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


def stretches(labels: Sequence[int], spans_s: FloatArray) -> list[Stretch]:
    """Of (N,) labels, spans (N, 2): rows of equal label that touch, as one."""
    rows = enumerate(zip(labels, spans_s.tolist(), strict=True))
    return _joined(Stretch(label, row, row, *span) for row, (label, span) in rows)


def _joined(parts: Iterable[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for stretch in parts:
        if joined and joined[-1].label == stretch.label and _touch(joined[-1], stretch):
            joined[-1] = joined[-1]._replace(last=stretch.last, end_s=stretch.end_s)
        else:
            joined.append(stretch)
    return joined


def _touch(left: Stretch, right: Stretch) -> bool:
    return right.start_s - left.end_s < 1e-3


def absorb_short(found: list[Stretch], min_s: float) -> list[Stretch]:
    """Give each under `min_s` seconds, shortest first, to its longer touching neighbour; one that
    touches none is left out."""
    found = list(found)
    lengths = [stretch.seconds for stretch in found]
    while lengths and min(lengths) < min_s - 1e-9:
        i = lengths.index(min(lengths))
        around = slice(max(i - 1, 0), i + 2)
        left, stretch, right = found[max(i - 1, 0) : i], found[i], found[i + 1 : i + 2]
        near = [r for r in left if _touch(r, stretch)] + [r for r in right if _touch(stretch, r)]
        if near:
            longest = max(near, key=lambda r: r.seconds)
            changed = _joined([*left, stretch._replace(label=longest.label), *right])
        else:
            changed = [*left, *right]
        found[around] = changed
        lengths[around] = [r.seconds for r in changed]
    return found
