"""From moments to rows of a Timeline: frame by frame for image models, in sliding windows for
others."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from emoscope.analysis.moments import Moment
from emoscope.analysis.window_inputs import EPSILON_S, View, WindowInputs, by_track
from emoscope.core.arrays import FloatArray
from emoscope.core.clipspec import ClipSpec
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.core.votes import DEFAULT_VOTE, VOTES, Vote
from emoscope.media.clips import Clip, build_clip
from emoscope.media.sound.audio import Sound

__all__ = ["FrameRows", "Predict", "WindowRows"]

Predict = Callable[[dict[str, FloatArray]], FloatArray]  # {stream: (B, ...)} -> (B, C)


@dataclass(frozen=True, eq=False)
class _Row:
    start_s: float
    end_s: float
    track: int = NO_TRACK
    box: tuple[float, ...] = (np.nan,) * 4
    probs: FloatArray | None = None
    padded: bool = False
    silent: bool = False  # a model of pictures and sound had no sound


class FrameRows:
    """The rows of an image model: one per face and moment, NaN for a moment without a face.

    Each Timeline but the last holds `batch` moments, whose faces go through the model in one call.
    """

    def __init__(
        self, spec: ClipSpec, predict: Predict, labels: tuple[str, ...], modality: str, batch: int
    ) -> None:
        self._spec, self._predict = spec, predict
        self._labels, self._modality, self._batch = labels, modality, batch
        self._moments: list[Moment] = []

    def push(self, moment: Moment) -> list[Timeline]:
        """Add the next moment. Returns the rows of a full batch."""
        self._moments.append(moment)
        return self.finish() if len(self._moments) == self._batch else []

    def finish(self) -> list[Timeline]:
        """The rows of the moments that are not in a batch yet."""
        group, self._moments = self._moments, []
        if not group:
            return []
        faces = [(moment, sighting) for moment in group for sighting in moment.sightings]
        clips = [Clip([sighting.picture], [moment.start_s]) for moment, sighting in faces]
        inputs = [build_clip(clip, self._spec) for clip in clips]
        probs = iter(_predict_all(inputs, self._predict))
        rows: list[_Row] = []
        for moment in group:
            if not moment.sightings:
                rows.append(_Row(moment.start_s, moment.end_s))
            for sighting in moment.sightings:
                rows.append(
                    _Row(moment.start_s, moment.end_s, sighting.track, sighting.box, next(probs))
                )
        return [_timeline(rows, self._labels, self._modality)]


class WindowRows:
    """The rows of a clip model: one per face and stride, the vote over all windows that cover the
    stride.

    Window k starts k strides after the first frame. A window that is cut, by the end of the video
    or because the face is not visible throughout, counts only where no whole window covers the
    stride. A face gets a row if it is visible in the stride. A stride without a face is a row of
    NaN.

    With `sound`, each window of a model of pictures and sound includes the sound of that window. A
    row whose windows were all silent does not list the voice in its modalities. For a model of
    sound alone the voice takes the place of the face. Windows of silence, and others whose
    prediction is NaN, do not count. A stride without any other window is a row of NaN.
    """

    def __init__(
        self,
        spec: ClipSpec,
        predict: Predict,
        labels: tuple[str, ...],
        modality: str,
        sound: Sound | None = None,
        vote: str = DEFAULT_VOTE,
    ) -> None:
        self._windows = _Windows(spec, predict, sound, partial(VOTES[vote], labels=labels))
        self._labels, self._modality = labels, modality

    def push(self, moment: Moment) -> list[Timeline]:
        """Add the next moment. Returns the rows of the windows that it completes."""
        self._windows.push(moment)
        parts = []
        while self._windows.complete():
            parts.append(_timeline(self._windows.advance(), self._labels, self._modality))
        return parts

    def finish(self) -> list[Timeline]:
        """The rows of the windows that the end of the video cuts."""
        parts = []
        while self._windows.unfinished():
            parts.append(_timeline(self._windows.advance(), self._labels, self._modality))
        return parts


_Prediction = tuple[FloatArray, bool, bool]  # (C,), padded, silent


@dataclass(eq=False)
class _Votes:
    """Predictions of the windows that cover one face in one stride."""

    whole: list[_Prediction] = field(default_factory=list)
    cut: list[_Prediction] = field(default_factory=list)

    def result(self, vote: Vote) -> _Prediction | None:
        """The vote over the windows that count, whether one of them was padded and whether all were
        silent. None if no window counts."""
        counting = [one for one in self.whole or self.cut if not np.isnan(one[0]).any()]
        if not counting:
            return None
        probs, padded, silent = zip(*counting, strict=True)
        return vote(np.stack(probs)), any(padded), all(silent)


class _Windows:
    """The current window, and the predictions for the strides that are still open."""

    def __init__(self, spec: ClipSpec, predict: Predict, sound: Sound | None, vote: Vote) -> None:
        self.inputs, self.predict, self.vote = WindowInputs(spec, sound), predict, vote
        self.looks = bool(spec.frame_streams)
        self.length_s, self.stride_s = spec.window.length_s, spec.window.stride_s
        self.strides = int((self.length_s + EPSILON_S) / self.stride_s)  # in a window, rounded down
        self.moments: deque[Moment] = deque()
        self.votes: dict[tuple[int, int], _Votes] = {}
        self.index = 0  # of the current window, and of its first stride
        self.zero_s = 0.0

    @property
    def start_s(self) -> float:
        return self.zero_s + self.index * self.stride_s

    def push(self, moment: Moment) -> None:
        if not self.moments and self.index == 0:
            self.zero_s = moment.start_s
        self.moments.append(moment)

    def complete(self) -> bool:
        """Whether the moments reach the end of the current window."""
        if not self.moments:
            return False
        return self.moments[-1].end_s >= self.start_s + self.length_s - EPSILON_S

    def unfinished(self) -> bool:
        """Whether any moment ends after the start of the current window."""
        if not self.moments:
            return False
        # A single image has no length, but gets a row.
        return self.moments[-1].end_s > self.start_s + EPSILON_S or self.index == 0

    def advance(self) -> list[_Row]:
        """Predict the current window, close its first stride, and move to the next window.

        In a gap without frames, the row covers all strides whose windows lie in the gap as well."""
        self._run()
        rows = self._close()
        gap = self.moments[0]
        if gap.is_gap and gap.start_s <= self.start_s + EPSILON_S:
            whole_s = gap.end_s - self.length_s - self.start_s
            if (skipped := int((whole_s + EPSILON_S) / self.stride_s)) > 0:
                self.index += skipped
                rows = [_Row(rows[0].start_s, self.start_s + self.stride_s)]
        self.index += 1
        while self.moments and self.moments[0].end_s <= self.start_s + EPSILON_S:
            self.moments.popleft()
        return rows

    def _run(self) -> None:
        """Add the predictions for every face in the current window."""
        end_s = self.start_s + self.length_s
        inside = self._within(self.start_s, end_s)
        view = View(self.index, self.start_s, end_s, self.zero_s, self.complete(), inside)
        faces = self.inputs.by_track(view)
        probs = _predict_all([face.streams for face in faces.values()], self.predict)
        for (track, face), row in zip(faces.items(), probs, strict=True):
            if face.is_silent and not self.looks:
                row = np.full_like(row, np.nan)
            for stride in range(self.index, self.index + self.strides):
                votes = self.votes.setdefault((stride, track), _Votes())
                prediction = row, face.is_padded, face.is_silent
                (votes.cut if face.is_cut else votes.whole).append(prediction)

    def _close(self) -> list[_Row]:
        start_s, end_s = self.start_s, min(self.start_s + self.stride_s, self.moments[-1].end_s)
        faces = by_track(self._within(start_s, end_s))
        rows = []
        for track, seen in sorted(faces.items()):
            first = seen[0][1]  # the box of a row is that of its start
            result = self.votes[self.index, track].result(self.vote)
            if result is not None:
                rows.append(_Row(start_s, end_s, track, first.box, *result))
        self.votes = {key: votes for key, votes in self.votes.items() if key[0] > self.index}
        return rows or [_Row(start_s, end_s)]

    def _within(self, start_s: float, end_s: float) -> list[Moment]:
        """Moments that overlap a span."""
        return [
            moment
            for moment in self.moments
            if moment.start_s < end_s - EPSILON_S and moment.end_s > start_s + EPSILON_S
        ] or [moment for moment in self.moments if start_s <= moment.start_s <= end_s]


def _predict_all(inputs: Sequence[dict[str, FloatArray]], predict: Predict) -> FloatArray:
    """(N, C) predictions, in one call of the model."""
    if not inputs:
        return np.empty((0, 0))
    return predict({name: np.stack([one[name] for one in inputs]) for name in inputs[0]})


def _timeline(rows: list[_Row], labels: tuple[str, ...], modality: str) -> Timeline:
    unknown = np.full(len(labels), np.nan)
    return Timeline(
        spans_s=np.array([(row.start_s, row.end_s) for row in rows], dtype=np.float64),
        track=np.array([row.track for row in rows], dtype=np.int64),
        boxes_xyxy=np.array([row.box for row in rows], dtype=np.float64),
        probs=np.array([unknown if row.probs is None else row.probs for row in rows]),
        modalities=np.array([_modalities(row, modality) for row in rows]),
        labels=labels,
        padded=np.array([row.padded for row in rows]),
    )


def _modalities(row: _Row, modality: str) -> str:
    """The parts of "face+voice" that a row used; "" for a row without probabilities."""
    if row.probs is None:
        return ""
    return "+".join(m for m in modality.split("+") if m != "voice" or not row.silent)
