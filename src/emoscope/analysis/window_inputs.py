"""Inputs of a clip model for each window: those of every face, of the voice, or of both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from emoscope.analysis.moments import Moment
from emoscope.core.arrays import ByteArray, Float32Array, FloatArray
from emoscope.core.clipspec import ClipSpec
from emoscope.media.clip_stream import ClipStream
from emoscope.media.clips import Clip, build_clip, frames_needed, grid
from emoscope.media.people.sightings import Sighting
from emoscope.media.sampling import grid_slack_s
from emoscope.media.sound.audio import Sound, is_silent

__all__ = ["EPSILON_S", "Inputs", "View", "WindowInputs", "by_track"]

Seen = list[tuple[Moment, Sighting]]  # one face, moment by moment

EPSILON_S = 1e-6


@dataclass(frozen=True, eq=False)
class View:
    """A window of the video.

    index      number of the window, which starts `index` strides after zero_s
    is_whole   whether the video reaches its end
    moments    the moments that overlap it
    """

    index: int
    start_s: float
    end_s: float
    zero_s: float
    is_whole: bool
    moments: Sequence[Moment]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The model's inputs for one face, or for the voice, in a window.

    streams    {name: (T, C, H, W), (D,) or (T, mels)}
    is_padded  whether frames had to be repeated
    is_cut     whether the video ends before the window, or the face is not visible throughout
    is_silent  whether a model that uses sound has none in it
    """

    streams: dict[str, FloatArray]
    is_padded: bool
    is_cut: bool
    is_silent: bool = False


class WindowInputs:
    """Builds the inputs of consecutive windows.

    Where `ClipStream` supports the spec, a face that is visible throughout is sampled at the times
    zero_s + k / rate_hz, and overlapping windows share the work. All other inputs are built with
    `build_clip`. The result is the same.
    """

    def __init__(self, spec: ClipSpec, sound: Sound | None = None) -> None:
        self._spec, self._sound = spec, sound
        self._slides = _Slides(spec) if ClipStream.serves(spec) else None

    def by_track(self, view: View) -> dict[int, Inputs]:
        """The inputs of each face in a window. Call it for every window, in order."""
        slid = {} if self._slides is None or not view.is_whole else self._slides.windows(view)
        inputs = {}
        for track, seen in by_track(view.moments).items():
            is_cut = not view.is_whole or len(seen) < len(view.moments)
            if track in slid and not is_cut:
                inputs[track] = Inputs(slid[track], is_padded=False, is_cut=False)
            else:
                clip = self._clip(view, seen)
                padded = len(grid(clip, self._spec)) < frames_needed(self._spec)
                silent = clip.audio is None or is_silent(clip.audio)
                streams = build_clip(clip, self._spec)
                inputs[track] = Inputs(streams, padded, is_cut, silent)
        return inputs

    def _clip(self, view: View, seen: Seen) -> Clip:
        """One face, the voice, or both in a window. With pictures, the sound ends where the face is
        last seen."""
        if self._sound is None:
            return Clip(*self._pictures(view, seen))
        rate_hz = self._sound.rate_hz
        if not self._spec.frame_streams:
            audio = self._sound.between(view.start_s, view.end_s)
            return Clip([], audio=audio, sample_rate_hz=rate_hz)
        until_s = min(seen[-1][0].end_s, view.end_s)
        audio = self._sound.during(view.start_s, until_s)
        return Clip(*self._pictures(view, seen), audio=audio, sample_rate_hz=rate_hz)

    def _pictures(self, view: View, seen: Seen) -> tuple[list[ByteArray], list[float]]:
        """Pictures of one face in a window, and their times.

        A picture that begins before the window gets the window's start as its time. The last
        picture is repeated at the last step of the spec's time grid if it lasts until there; a
        still picture would otherwise shift or shorten the grid. A picture that begins at the
        window's end belongs to the next step."""
        rate_hz = self._spec.rate_hz
        if rate_hz is None:
            times_s = [max(moment.start_s, view.start_s) for moment, _ in seen]
            return [sighting.picture for _, sighting in seen], times_s
        until_s = view.end_s - grid_slack_s(rate_hz)
        seen = [one for one in seen if one[0].start_s < until_s] or seen
        pictures = [sighting.picture for _, sighting in seen]
        times_s = [max(moment.start_s, view.start_s) for moment, _ in seen]
        last_s = min(seen[-1][0].end_s, view.end_s) - 1 / rate_hz
        if last_s > times_s[-1] + EPSILON_S:
            pictures.append(pictures[-1])
            times_s.append(last_s)
        return pictures, times_s


class _Slides:
    """One ClipStream per visible face, on the time grid zero_s + k / rate_hz."""

    def __init__(self, spec: ClipSpec) -> None:
        assert spec.rate_hz is not None  # ClipStream supports no other
        self._spec, self._rate_hz, self._length = spec, spec.rate_hz, spec.length
        self._stride = ClipStream.stride_of(spec)
        self._streams: dict[int, ClipStream] = {}
        self._next = 0  # step of the grid

    def windows(self, view: View) -> dict[int, dict[str, Float32Array]]:
        """The inputs of every face that is visible throughout a window, by track."""
        first = view.index * self._stride
        instants = np.arange(max(self._next, first), first + self._length)
        self._next = first + self._length
        begun_s = [moment.start_s for moment in view.moments]
        seen_until_s = view.zero_s + instants / self._rate_hz + grid_slack_s(self._rate_hz)
        shown = np.searchsorted(begun_s, seen_until_s, side="right") - 1
        full = {}
        for instant, index in zip(instants.tolist(), shown.tolist(), strict=True):
            full = self._push(instant, view.moments[index])
        return full

    def _push(self, instant: int, shown: Moment) -> dict[int, dict[str, Float32Array]]:
        """Drop the streams of faces that are gone; start one for a new face at a window's start."""
        begins = instant % self._stride == 0
        streams, self._streams = self._streams, {}
        full = {}
        for sighting in shown.sightings:
            stream = streams.get(sighting.track) or (ClipStream(self._spec) if begins else None)
            if stream is None:
                continue
            self._streams[sighting.track] = stream
            window = stream.push(sighting.picture)
            if window is not None:
                full[sighting.track] = window
        return full


def by_track(seen: Iterable[Moment]) -> dict[int, Seen]:
    """The moments of each face."""
    faces: dict[int, Seen] = {}
    for moment in seen:
        for sighting in moment.sightings:
            faces.setdefault(sighting.track, []).append((moment, sighting))
    return faces
