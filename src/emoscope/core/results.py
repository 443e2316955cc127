"""Results of an analysis: boxes, segments, summaries and the Timeline."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from emoscope.core.arrays import BoolArray, FloatArray, IntArray, StrArray
from emoscope.core.provenance import Provenance
from emoscope.core.stretches import absorb_short, stretches
from emoscope.core.table import AFTER, BEFORE, data_frame, probability_columns
from emoscope.core.votes import VOTES, Vote

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NO_TRACK", "Box", "Provenance", "Segment", "Timeline", "TrackSummary", "printable"]

NO_TRACK = -1
_COLUMNS = ("spans_s", "track", "boxes_xyxy", "probs", "modalities", "padded")
_TOLERANCE = 1e-6  # rounding error of a probability
_MIN_LENGTH_S = 1e-9  # rows of no length still need a weight


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
    """A stretch of time in which one face has one label."""

    track: int
    start_s: float
    end_s: float
    label: str
    probability: float  # of the label, mean over the stretch, weighted by time


@dataclass(frozen=True)
class TrackSummary:
    """Summary of one face."""

    track: int
    start_s: float
    end_s: float
    seen_s: float
    leading: str  # the most probable label; "" if below the minimum confidence
    probabilities: dict[str, float]  # by the vote, over the time seen
    shares: dict[str, float]  # share of the time seen in which each label led; the rest has none


@dataclass(frozen=True, eq=False)
class Timeline:
    """Emotion over time: one row per face and span of time, ordered by start, then track.

    A span in which no face was seen is one row with track -1, a NaN box and NaN probabilities.
    If a system of models hears a voice there, the row has the voice's probabilities.

    >>> timeline = Timeline(
    ...     spans_s=np.array([[0.0, 1.5], [1.5, 2.0]]),
    ...     track=np.array([0, 0]),
    ...     boxes_xyxy=np.array([[10.0, 10.0, 50.0, 60.0], [12.0, 10.0, 52.0, 60.0]]),
    ...     probs=np.array([[0.9, 0.1], [0.3, 0.7]]),
    ...     modalities=np.array(["face", "face"]),
    ...     labels=("neutral", "happiness"),
    ...     padded=np.array([False, False]),
    ...     provenance=Provenance(path="talk.mp4", model="face-ferplus", duration_s=2.0),
    ... )
    >>> print(timeline)
    talk.mp4: 2.0 s, 2 rows, 1 person
    model: face-ferplus
    person 0 (2.0 s): neutral 75%, happiness 25%
    >>> timeline.leading
    ('neutral', 'happiness')
    >>> [(segment.label, segment.start_s, segment.end_s) for segment in timeline.segments()]
    [('neutral', 0.0, 1.5), ('happiness', 1.5, 2.0)]
    """

    spans_s: FloatArray  # (N, 2) start, end
    track: IntArray  # (N,) stable id of a face; -1 where none was seen
    boxes_xyxy: FloatArray  # (N, 4) source pixels, at the start of the span; NaN without a box
    probs: FloatArray  # (N, C); a row sums to 1, or is NaN where nobody was seen or heard
    modalities: StrArray  # (N,) the models' inputs: "face", "face+voice" ...; "" for none
    labels: tuple[str, ...]
    padded: BoolArray  # (N,) the clip was shorter than the model needs
    provenance: Provenance = Provenance()  # noqa: RUF009  # frozen

    def __post_init__(self) -> None:
        n, c = len(self.spans_s), len(self.labels)
        if len(set(self.labels)) < c or "" in self.labels:
            raise ValueError(f"Timeline.labels must differ and not be empty, got {self.labels}")
        shapes = ((n, 2), (n,), (n, 4), (n, c), (n,), (n,))
        for name, shape in zip(_COLUMNS, shapes, strict=True):
            actual = np.shape(getattr(self, name))
            if actual != shape:
                raise ValueError(f"Timeline.{name} must have shape {shape}, got {actual}")
        if not np.all(self.spans_s[:, 1] >= self.spans_s[:, 0]):
            raise ValueError("Timeline.spans_s must not end before they start")
        if not np.all(np.diff(self.spans_s[:, 0]) >= 0):
            raise ValueError("Timeline.spans_s must be sorted by their start")
        seen = ~np.isnan(self.probs).any(axis=1)
        if not np.allclose(self.probs[seen].sum(axis=1), 1, atol=1e-3):
            raise ValueError("Timeline.probs must sum to 1 in every row that is not NaN")

    @classmethod
    def empty(cls, labels: Sequence[str], provenance: Provenance = Provenance()) -> Self:
        """Create a Timeline without rows."""
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
        """Join the rows of several Timelines with the same labels. The provenance is the first's.

        Raises ValueError if the labels differ or there is no Timeline."""
        parts = list(parts)
        if len({part.labels for part in parts}) != 1:
            raise ValueError("Timelines to concatenate must have the same label set")
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(p, name) for p in parts]) for name in _COLUMNS
        }
        order = np.lexsort((joined["track"], joined["spans_s"][:, 0]))
        return replace(parts[0], **{name: column[order] for name, column in joined.items()})

    def __len__(self) -> int:
        return len(self.spans_s)

    def __repr__(self) -> str:
        source = self.provenance
        return (
            f"Timeline(path={source.path!r}, model={source.model!r}, rows={len(self)}, "
            f"tracks={len(self.tracks)})"
        )

    def __str__(self) -> str:
        """At most five lines: the file, the model, and the most probable labels of each person."""
        source, people = self.provenance, self.summary()
        name = printable(PurePath(source.path).name) or "Timeline"
        rows = f"{len(self)} {'row' if len(self) == 1 else 'rows'}"
        count = f"{len(people)} {'person' if len(people) == 1 else 'people'}"
        lines = [f"{name}: {self.duration_s:.1f} s, {rows}, {count}"]
        if source.model:
            lines.append(f"model: {source.model} {source.model_version}".strip())
        longest = sorted(people, key=lambda person: -person.seen_s)
        for person in longest[: 3 if len(people) <= 3 else 2]:
            probable = sorted(person.probabilities.items(), key=lambda entry: -entry[1])[:3]
            labels = ", ".join(f"{label} {prob:.0%}" for label, prob in probable if prob >= 0.05)
            unsure = "" if person.leading else "unsure: "
            lines.append(f"person {person.track} ({person.seen_s:.1f} s): {unsure}{labels}")
        if len(people) > 3:
            lines.append(f"... and {len(people) - 2} more people")
        return "\n".join(lines)

    @property
    def duration_s(self) -> float:
        """Length of the recording, or the end of the last row if that is later."""
        end_s = float(self.spans_s[:, 1].max()) if len(self) else 0.0
        return float(np.nanmax([self.provenance.duration_s, end_s]))

    @property
    def seen(self) -> BoolArray:
        """(N,) whether a row has probabilities."""
        return np.asarray(~np.isnan(self.probs).any(axis=1))

    @property
    def tracks(self) -> tuple[int, ...]:
        """Ids of the faces, in the order of their first appearance."""
        return tuple(dict.fromkeys(self.track[self.track != NO_TRACK].tolist()))

    @property
    def answered(self) -> BoolArray:
        """(N,) whether a row has a label: its highest probability is at least the provenance's
        `min_confidence`."""
        return self._is_sure(np.where(self.seen[:, None], self.probs, -1.0).max(axis=1))

    @property
    def leading(self) -> tuple[str, ...]:
        """The most probable label of every row; "" where the row is not `answered`."""
        best = np.argmax(np.where(self.seen[:, None], self.probs, 0.0), axis=1)
        rows = zip(best, self.answered.tolist(), strict=True)
        return tuple(self.labels[column] if answered else "" for column, answered in rows)

    def for_track(self, track: int) -> "Timeline":
        """Select the rows of one face."""
        return self.rows(self.track == track)

    def rows(self, selection: BoolArray | IntArray | slice) -> "Timeline":
        """Select rows by a mask, indices or a slice."""
        return replace(self, **{name: getattr(self, name)[selection] for name in _COLUMNS})

    def summary(self, vote: str | None = None) -> tuple[TrackSummary, ...]:
        """Summarise each face that has probabilities.

        A vote combines a face's rows, weighted by time: `vote`, a name in VOTES, by default the
        provenance's. Rows without a label take part in it. A face has no label if the highest
        probability is below the provenance's `min_confidence`, or if some of its rows have no
        label and none has this one. Raises UnknownName for an unknown vote."""
        vote_rule = VOTES[vote or self.provenance.vote]
        seen = set(self.track[self.seen].tolist())
        return tuple(self._summarise(track, vote_rule) for track in self.tracks if track in seen)

    def segments(self, min_s: float = 0.0) -> tuple[Segment, ...]:
        """Join each face's rows of equal label into segments; rows without a label are left out.

        A segment shorter than `min_s` seconds takes the label of the longer of its adjacent
        segments. If it has none, it is left out."""
        segments: list[Segment] = []
        for track in self.tracks:
            part = self.rows((self.track == track) & self.answered)
            joined = stretches(part.probs.argmax(axis=1).tolist(), part.spans_s)
            for label, first, last, _, _ in absorb_short(joined, min_s):
                rows = slice(first, last + 1)
                probability = np.average(part.probs[rows, label], weights=part._seconds()[rows])
                segments.append(
                    Segment(
                        track=track,
                        start_s=float(part.spans_s[first, 0]),
                        end_s=float(part.spans_s[last, 1]),
                        label=self.labels[label],
                        probability=float(probability),
                    )
                )
        return tuple(sorted(segments, key=lambda segment: (segment.start_s, segment.track)))

    def smooth(self, window_s: float = 1.0, *, causal: bool = False) -> "Timeline":
        """Average each face's probabilities over a window of `window_s` seconds.

        The window is centred on a row's middle; with `causal` it ends there. Rows of NaN are
        ignored and stay NaN. Raises ValueError for a window that is not positive."""
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
            # In float32 the cumulative sum of a long video would lose precision.
            sums = np.zeros((len(rows) + 1, len(self.labels)))
            np.cumsum(self.probs[rows], axis=0, dtype=np.float64, out=sums[1:])
            probs[rows] = (sums[last] - sums[first]) / (last - first)[:, None]
        # A Timeline smoothed twice is smoothed over the sum of both windows.
        width_s = self.provenance.smooth_s + window_s
        return replace(self, probs=probs, provenance=replace(self.provenance, smooth_s=width_s))

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain Python values for JSON; NaN and infinity become None."""
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

    def to_columns(self) -> dict[str, Any]:
        """Convert to a table: the (N,) values of each column of `to_pandas`, None or NaN where no
        face was seen."""
        x1, y1, x2, y2 = self.boxes_xyxy.T.astype(np.float64)
        start_s, end_s = self.spans_s.T.astype(np.float64)
        track = [None if track == NO_TRACK else track for track in self.track.tolist()]
        before = (start_s, end_s, track, x1, y1, x2 - x1, y2 - y1)
        after = (
            [label or None for label in self.leading],
            [str(name) or None for name in self.modalities],
            self.padded,
            [printable(self.provenance.path)] * len(self),
            [self.provenance.model] * len(self),
        )
        names = (*BEFORE, *probability_columns(self.labels), *AFTER)
        values = (*before, *self.probs.T.astype(np.float64), *after)
        return dict(zip(names, values, strict=True))

    def to_pandas(self) -> "pd.DataFrame":
        """Convert to a pandas table with one row per face and span of time.

        Columns have py-feat's names where py-feat has the same quantity:

            start_s, end_s      the span in seconds
            track               stable id of a face; missing where none was seen
            FaceRectX, FaceRectY, FaceRectWidth, FaceRectHeight    box in source pixels
            anger, happiness ...    one column per label: its probability. A label that is the
                                name of another column is preceded by "p_": p_track
            leading             most probable label; missing if below the minimum confidence
            modalities          inputs of the models: "face", "face+voice" ...
            padded              whether the clip was shorter than the model needs
            input               path of the video as it was given
            model               name of the model

        Texts that are missing are missing values in every version of pandas. Raises MissingExtra
        if pandas is not installed.

        >>> Timeline.empty(["neutral", "happiness"]).to_pandas().shape
        (0, 14)
        """
        return data_frame(self.to_columns())

    def _is_sure(self, highest: FloatArray | float) -> BoolArray:
        return np.asarray(highest >= self.provenance.min_confidence - _TOLERANCE)

    def _seconds(self) -> FloatArray:
        """(N,) weights of the rows by time."""
        return np.maximum(self.spans_s[:, 1] - self.spans_s[:, 0], _MIN_LENGTH_S)

    def _summarise(self, track: int, vote: Vote) -> TrackSummary:
        part = self.rows((self.track == track) & self.seen)
        seconds, answered = part._seconds(), part.answered
        probs = vote(part.probs, seconds, self.labels)
        best = int(probs.argmax())
        led_s = np.bincount(
            part.probs.argmax(axis=1), weights=seconds * answered, minlength=len(self.labels)
        )
        has_label = self._is_sure(probs[best]) and (answered.all() or led_s[best] > 0)
        return TrackSummary(
            track=track,
            start_s=float(part.spans_s[0, 0]),
            end_s=float(part.spans_s[-1, 1]),
            seen_s=float(seconds.sum()),
            leading=self.labels[best] if has_label else "",
            probabilities=dict(zip(self.labels, probs.tolist(), strict=True)),
            shares=dict(zip(self.labels, (led_s / seconds.sum()).tolist(), strict=True)),
        )


def _plain(value: Any) -> Any:
    """Replace NaN and infinity by None and tuples by lists, recursively."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def printable(path: str) -> str:
    """Escape the bytes of a file name that are not text."""
    return path.encode("utf-8", "backslashreplace").decode()
