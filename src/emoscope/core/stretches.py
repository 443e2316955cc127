"""Join rows of equal label into stretches of time, and absorb short stretches."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from emoscope.core.arrays import FloatArray

__all__ = ["Stretch", "absorb_short", "stretches"]


class Stretch(NamedTuple):
    """Consecutive rows of one label, without a gap in time."""

    label: int
    first: int  # row
    last: int  # row, inclusive
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


def stretches(labels: Sequence[int], spans_s: FloatArray) -> list[Stretch]:
    """Join adjacent rows of equal label: labels (N,), spans (N, 2) in seconds."""
    rows = enumerate(zip(labels, spans_s.tolist(), strict=True))
    return _join(Stretch(label, row, row, *span) for row, (label, span) in rows)


def _join(parts: Iterable[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for stretch in parts:
        if joined and joined[-1].label == stretch.label and _are_adjacent(joined[-1], stretch):
            joined[-1] = joined[-1]._replace(last=stretch.last, end_s=stretch.end_s)
        else:
            joined.append(stretch)
    return joined


def _are_adjacent(left: Stretch, right: Stretch) -> bool:
    return right.start_s - left.end_s < 1e-3


def absorb_short(parts: Sequence[Stretch], min_s: float) -> list[Stretch]:
    """Join each stretch shorter than `min_s` seconds, shortest first, to its longer adjacent one.

    A short stretch without an adjacent one is left out."""
    kept = list(parts)
    lengths = [stretch.seconds for stretch in kept]
    while lengths and min(lengths) < min_s - 1e-9:
        i = lengths.index(min(lengths))
        around = slice(max(i - 1, 0), i + 2)
        left, stretch, right = kept[max(i - 1, 0) : i], kept[i], kept[i + 1 : i + 2]
        adjacent = [other for other in left if _are_adjacent(other, stretch)]
        adjacent += [other for other in right if _are_adjacent(stretch, other)]
        if adjacent:
            longest = max(adjacent, key=lambda other: other.seconds)
            changed = _join([*left, stretch._replace(label=longest.label), *right])
        else:
            changed = [*left, *right]
        kept[around] = changed
        lengths[around] = [stretch.seconds for stretch in changed]
    return kept
