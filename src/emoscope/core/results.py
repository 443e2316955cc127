"""What analysis returns: boxes, tracks and the Timeline."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from emoscope.core.arrays import BoolArray, FloatArray, IntArray, StrArray
from emoscope.core.provenance import Provenance
from emoscope.core.stretches import absorb_short, stretches
from emoscope.core.votes import VOTES, Vote

__all__ = ["Box", "FaceTrack", "Provenance", "Segment", "Timeline", "TrackSummary"]


NO_TRACK = -1
_COLUMNS = ("spans_s", "track", "boxes_xyxy", "probs", "modalities", "padded")
_EQUAL = 1e-6  # what rounding makes of one probability


class Box(NamedTuple):
    """A rectangle in source pixels: left, top, right, bottom."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def center(self) -> tuple[float, float]:
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def scaled(self, factor: float) -> "Box":
        """The same rectangle in a picture `factor` times as large."""
        return Box(*(value * factor for value in self))

    def iou(self, other: "Box") -> float:
        """Intersection over union, in [0, 1]."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        overlap = max(width, 0.0) * max(height, 0.0)
        union = self.area + other.area - overlap
        return overlap / union if union > 0 else 0.0


@dataclass(frozen=True)
class Segment:
    """A stretch of one track under one label."""

    track: int
    start_s: float
    end_s: float
    label: str
    probability: float  # mean over the stretch, weighted by time


@dataclass(frozen=True)
class TrackSummary:
    """One person in a few figures."""

    track: int
    start_s: float
    end_s: float
    seen_s: float
    leading: str  # the most probable; "" where that is below the least confidence
    probabilities: dict[str, float]  # what the vote makes of the time seen
    shares: dict[str, float]  # part of the time seen in which each label led; the rest has none


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One person followed through a video: times (N,) seconds, boxes (N, 4) xyxy source pixels."""

    id: int
    times_s: FloatArray
    boxes_xyxy: FloatArray

    def __len__(self) -> int:
        return len(self.times_s)


@dataclass(frozen=True, eq=False)
class Timeline:
    """Emotion over time: one row a face a span, ordered by start, then track.

    A span in which no face was seen is one row with track -1, a NaN box and NaN probabilities,
    never a missing row. A system of models that hears a voice there gives it the voice's.
    """

    spans_s: FloatArray  # (N, 2) start, end
    track: IntArray  # (N,) stable id of a face; -1 where none was seen
    boxes_xyxy: FloatArray  # (N, 4) source pixels, where the face was at the start; or NaN
    probs: FloatArray  # (N, C); a row sums to 1, or is NaN where nobody was seen or heard
    modalities: StrArray  # (N,) who spoke: "face", "face+voice" ...; "" for nobody
    labels: tuple[str, ...]
    padded: BoolArray  # (N,) the clip was shorter than the model needs
    provenance: Provenance = Provenance()  # noqa: RUF009  # frozen

    def __post_init__(self) -> None:
        n, c = len(self.spans_s), len(self.labels)
        shapes = ((n, 2), (n,), (n, 4), (n, c), (n,), (n,))
        for name, shape in zip(_COLUMNS, shapes, strict=True):
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ValueError(f"Timeline.{name} must have shape {shape}, got {found}")
        if not np.all(self.spans_s[:, 1] >= self.spans_s[:, 0]):
            raise ValueError("Timeline.spans_s must end after they start")
        if not np.all(np.diff(self.spans_s[:, 0]) >= 0):
            raise ValueError("Timeline.spans_s must be in the order of their starts")
        seen = ~np.isnan(self.probs).any(axis=1)
        if not np.allclose(self.probs[seen].sum(axis=1), 1, atol=1e-3):
            raise ValueError("Timeline.probs must sum to 1 in every row that is not NaN")

    @classmethod
    def empty(cls, labels: Sequence[str], provenance: Provenance = Provenance()) -> Self:
        """A Timeline of no rows."""
        return cls(
            spans_s=np.empty((0, 2)),
            track=np.empty(0, dtype=np.int64),
            boxes_xyxy=np.empty((0, 4)),
            probs=np.empty((0, len(labels))),
            modalities=np.empty(0, dtype=np.str_),
            padded=np.empty(0, dtype=np.bool_),
            labels=tuple(labels),
            provenance=provenance,
        )

    @classmethod
    def concatenate(cls, parts: Iterable["Timeline"]) -> "Timeline":
        """Rows of several Timelines over the same labels, ordered by start, then track; the first
        one's provenance."""
        parts = list(parts)
        if len({part.labels for part in parts}) != 1:
            raise ValueError("Timelines to concatenate need one and the same label set")
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(p, name) for p in parts]) for name in _COLUMNS
        }
        order = np.lexsort((joined["track"], joined["spans_s"][:, 0]))
        return replace(parts[0], **{name: column[order] for name, column in joined.items()})

    def __len__(self) -> int:
        return len(self.spans_s)

    @property
    def seen(self) -> BoolArray:
        """(N,) rows that hold probabilities."""
        return np.asarray(~np.isnan(self.probs).any(axis=1))

    @property
    def tracks(self) -> tuple[int, ...]:
        """Ids of the faces seen, in the order of their first appearance."""
        return tuple(dict.fromkeys(self.track[self.track != NO_TRACK].tolist()))

    @property
    def answered(self) -> BoolArray:
        """(N,) rows that have a label: their highest probability is the provenance's
        `min_confidence` or more."""
        return self._is_sure(np.where(self.seen[:, None], self.probs, -1.0).max(axis=1))

    @property
    def leading(self) -> tuple[str, ...]:
        """The most probable label of every row; "" where it is not `answered`."""
        best = np.argmax(np.where(self.seen[:, None], self.probs, 0.0), axis=1)
        answered = self.answered.tolist()
        return tuple(self.labels[i] if told else "" for i, told in zip(best, answered, strict=True))

    def of(self, track: int) -> "Timeline":
        """The rows of one face."""
        return self.rows(self.track == track)

    def rows(self, chosen: BoolArray | IntArray | slice) -> "Timeline":
        """These rows alone."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in _COLUMNS})

    def face_tracks(self) -> tuple[FaceTrack, ...]:
        """Every face's path: its box at the start of each of its spans."""
        return tuple(
            FaceTrack(track, part.spans_s[:, 0], part.boxes_xyxy)
            for track in self.tracks
            for part in (self.of(track),)
        )

    def summary(self, vote: str | None = None) -> tuple[TrackSummary, ...]:
        """One entry a face with probabilities: its rows, weighted by time, make one answer by a
        `vote` of VOTES, if not told by the provenance's. Rows without a label take part in the
        vote. The face has no label where the answer's highest is below the provenance's
        `min_confidence`, or where some rows have no label and none has this one. Raises
        UnknownName."""
        by = VOTES[vote or self.provenance.vote]
        seen = set(self.track[self.seen].tolist())
        return tuple(self._summarise(track, by) for track in self.tracks if track in seen)

    def segments(self, min_s: float = 0.0) -> tuple[Segment, ...]:
        """Stretches of equal leading label, a face at a time; rows without one are in none.

        A stretch shorter than `min_s` takes the label of the longer of its touching neighbours;
        one that touches none is left out.
        """
        found: list[Segment] = []
        for track in self.tracks:
            part = self.of(track)
            found += part._segments_of_one(min_s)
        return tuple(sorted(found, key=lambda s: (s.start_s, s.track)))

    def smooth(self, window_s: float = 1.0, *, causal: bool = False) -> "Timeline":
        """Each face's probabilities averaged over `window_s` seconds around a row's middle, or with
        `causal` over the seconds before it. Rows of NaN stay as they are and count for nothing."""
        if window_s <= 0:
            raise ValueError(f"window_s must be positive, got {window_s}")
        probs = self.probs.copy()
        middle = self.spans_s.mean(axis=1)
        before, after = (window_s, 0.0) if causal else (window_s / 2, window_s / 2)
        for track in self.tracks:
            rows = np.flatnonzero((self.track == track) & self.seen)
            times = middle[rows]
            first = np.searchsorted(times, times - before - 1e-9, side="left")
            last = np.searchsorted(times, times + after + 1e-9, side="right")
            # In float32 the running sum of a long video would lose the probabilities' digits.
            sums = np.zeros((len(rows) + 1, len(self.labels)))
            np.cumsum(self.probs[rows], axis=0, dtype=np.float64, out=sums[1:])
            probs[rows] = (sums[last] - sums[first]) / (last - first)[:, None]
        # Averaged twice, a row reaches over both windows together.
        width_s = self.provenance.smooth_s + window_s
        return replace(self, probs=probs, provenance=replace(self.provenance, smooth_s=width_s))

    def with_min_confidence(self, least: float) -> "Timeline":
        """The same rows, of which one has no label where its highest probability is below `least`,
        from 0 to 1. Probabilities stay."""
        if not 0 <= least <= 1:
            raise ValueError(f"a least confidence is from 0 to 1, got {least}")
        return replace(self, provenance=replace(self.provenance, min_confidence=least))

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON: NaN and infinity become None."""
        return {
            "provenance": _plain(asdict(self.provenance)),
            "labels": list(self.labels),
            "rows": [
                {
                    "start_s": float(span[0]),
                    "end_s": float(span[1]),
                    "track": int(track) if track != NO_TRACK else None,
                    "box_xyxy": _plain(box.tolist()) if track != NO_TRACK else None,
                    "leading": leading or None,
                    "probabilities": dict(zip(self.labels, _plain(row.tolist()), strict=True))
                    if seen
                    else None,
                    "modalities": str(modalities),
                    "padded": bool(padded),
                }
                for span, track, box, leading, seen, row, modalities, padded in zip(
                    self.spans_s,
                    self.track,
                    self.boxes_xyxy,
                    self.leading,
                    self.seen,
                    self.probs,
                    self.modalities,
                    self.padded,
                    strict=True,
                )
            ],
        }

    def _is_sure(self, highest: FloatArray | float) -> BoolArray:
        return np.asarray(highest >= self.provenance.min_confidence - _EQUAL)

    def _summarise(self, track: int, vote: Vote) -> TrackSummary:
        part = self.rows((self.track == track) & self.seen)
        seconds = np.maximum(part.spans_s[:, 1] - part.spans_s[:, 0], 1e-9)
        probs = vote(part.probs, seconds, self.labels)
        best, told = int(probs.argmax()), part.answered
        led = np.bincount(
            part.probs.argmax(axis=1), weights=seconds * told, minlength=len(self.labels)
        )
        is_sure = self._is_sure(probs[best]) and (told.all() or led[best] > 0)
        return TrackSummary(
            track=track,
            start_s=float(part.spans_s[0, 0]),
            end_s=float(part.spans_s[-1, 1]),
            seen_s=float(seconds.sum()),
            leading=self.labels[best] if is_sure else "",
            probabilities=dict(zip(self.labels, probs.tolist(), strict=True)),
            shares=dict(zip(self.labels, (led / seconds.sum()).tolist(), strict=True)),
        )

    def _segments_of_one(self, min_s: float) -> list[Segment]:
        """Segments of a Timeline that holds one face only."""
        part = self.rows(self.answered)
        found = stretches(part.probs.argmax(axis=1).tolist(), part.spans_s)
        return [
            Segment(
                track=int(part.track[first]),
                start_s=float(part.spans_s[first, 0]),
                end_s=float(part.spans_s[last, 1]),
                label=self.labels[label],
                probability=float(
                    np.average(
                        part.probs[first : last + 1, label],
                        weights=np.maximum(np.diff(part.spans_s[first : last + 1])[:, 0], 1e-9),
                    )
                ),
            )
            for label, first, last, _, _ in absorb_short(found, min_s)
        ]


def _plain(value: Any) -> Any:
    """NaN and infinity to None, tuples to lists, all the way down: what JSON can hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
