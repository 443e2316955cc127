"""A sound track in: mono samples at one rate, on the same clock as the video's frames."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from emoscope.core.arrays import Float32Array, FloatArray
from emoscope.core.errors import MediaError
from emoscope.media.reading.container import existing, open_media, packets, zero_s

__all__ = ["RATE_HZ", "Sound", "is_silent", "read_sound"]


RATE_HZ = 16_000  # what speech features are made for
_SEEK_BACK_S = 1.0  # decoders need some sound before they give the right one
_LOOK_AHEAD_S = 0.1  # the resampler's filter reaches beyond the last sample that is wanted
_JITTER_S = 0.02  # containers round their times: sound this little out of place follows on


@dataclass(frozen=True, eq=False)
class Sound:
    """Mono sound: sample i is heard at `start_s + i / rate_hz`, seconds of the file's own clock."""

    samples: Float32Array  # (N,) in [-1, 1]
    rate_hz: int
    start_s: float = 0.0

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / self.rate_hz

    def between(self, start_s: float, end_s: float) -> Float32Array:
        """The samples of a span, (M,); fewer where the sound ends before it does."""
        first = round((start_s - self.start_s) * self.rate_hz)
        last = first + round((end_s - start_s) * self.rate_hz)
        return self.samples[max(first, 0) : max(last, 0)]

    def during(self, start_s: float, end_s: float) -> Float32Array:
        """The samples of a span, (M,): silent where there is no sound."""
        first = round((start_s - self.start_s) * self.rate_hz)
        span = np.zeros(max(0, round((end_s - start_s) * self.rate_hz)), dtype=np.float32)
        heard = self.samples[max(first, 0) : max(first + len(span), 0)]
        at = max(-first, 0)
        span[at : at + len(heard)] = heard
        return span


def is_silent(samples: FloatArray) -> bool:
    """Whether sound (N,) in [-1, 1] stays below the last of 16 bits."""
    return not len(samples) or float(np.abs(samples).max()) < 2**-15


def read_sound(
    path: str | Path,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    rate_hz: int = RATE_HZ,
) -> Sound:
    """The sound of a video or sound file from `start_s` to `end_s`, or to its own end if sooner.

    Channels are mixed down so that none can clip. Where the track begins after the file does, and
    where a stretch is damaged or missing, there is silence, so that times stay true (to half a
    sample, and to the container's own rounding). A file cut off in the middle gives what is there.

    Raises MediaError, in one line, for a path that is missing or empty, has no sound track or none
    that decodes, and for a span that is empty or starts after the end.
    """
    file = existing(path)
    _check(file, start_s, end_s, rate_hz)
    # From a whole second on, so that a span's samples fall where those of the whole file do.
    base_s = math.floor(max(0.0, start_s - _LOOK_AHEAD_S))
    length_s = math.inf if end_s is None else end_s + _LOOK_AHEAD_S - base_s
    samples = _decoded(file, base_s, length_s, rate_hz)
    first = round((start_s - base_s) * rate_hz)
    if len(samples) <= first:
        raise MediaError(
            f"{file}: the start ({start_s:g} s) is past the end of its sound."
            " Give an earlier start."
        )
    last = None if end_s is None else first + round((end_s - start_s) * rate_hz)
    # Sound of floating point may hold anything.
    wanted = np.nan_to_num(samples[first:last], nan=0.0).clip(-1, 1)
    return Sound(wanted, rate_hz, start_s)


def _check(path: Path, start_s: float, end_s: float | None, rate_hz: int) -> None:
    if path.is_dir():
        raise MediaError(f"{path}: a folder has no sound. Give a video or sound file.")
    if rate_hz < 1:
        raise MediaError(f"{path}: a rate of {rate_hz} Hz. Give 1 or more.")
    if not 0 <= start_s < math.inf:
        raise MediaError(f"{path}: a start of {start_s} s. Give 0 or more.")
    if end_s is not None and not end_s > start_s:
        raise MediaError(
            f"{path}: the end ({end_s:g} s) is not after the start ({start_s:g} s)."
            " Give a later end."
        )


def _decoded(path: Path, base_s: float, length_s: float, rate_hz: int) -> Float32Array:
    """(N,) from `base_s` on, `length_s` long or to the track's end."""
    with open_media(path) as container:
        track = _sound_track(container, path)
        frames = _frames_from(container, track, base_s)
        head = next(frames, None)
        if head is None:
            raise MediaError(
                f"{path}: nothing of its sound can be decoded. Check that it is complete."
            )
        laid = _laid(_chain(head, frames), _Clock(container, track, base_s), length_s)
        return np.concatenate(list(_resampled(laid, head.sample_rate, rate_hz)))


def _sound_track(container: InputContainer, path: Path) -> AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        raise MediaError(f"{path}: the file has no sound. Give one with a sound track.")
    if stream.codec_context is None:
        raise MediaError(f"{path}: FFmpeg has no decoder for its sound. Convert it to AAC.")
    return stream


class _Clock:
    """When a frame is heard, in seconds after a base on the file's own clock."""

    def __init__(self, container: InputContainer, track: AudioStream, base_s: float) -> None:
        assert track.time_base is not None  # every stream of a file has one
        self._tick, self._ticks = track.time_base.as_integer_ratio()
        self._zero_s = zero_s(container) + base_s
        duration_s = container.duration / av.time_base if container.duration else math.inf
        self._latest_s = duration_s + 1.0 - base_s

    def read(self, frame: AudioFrame) -> float | None:
        """None where the file does not say, or says what is beyond its end."""
        if frame.pts is None:
            return None
        time_s = frame.pts * self._tick / self._ticks - self._zero_s
        return time_s if time_s <= self._latest_s else None


def _frames_from(
    container: InputContainer, track: AudioStream, from_s: float
) -> Iterator[AudioFrame]:
    """The track's frames from one at or before `from_s` on: sought, or where a seek lands too late
    read from the file's start."""
    assert track.time_base is not None
    if from_s > 0 and _seek(container, track, from_s - _SEEK_BACK_S):
        frames = _frames(container, track)
        head = next(frames, None)
        time_s = _Clock(container, track, 0.0).read(head) if head else None
        if head is not None and time_s is not None and time_s <= from_s:
            yield from _chain(head, frames)
            return
        _seek(container, track, -_SEEK_BACK_S)
    yield from _frames(container, track)


def _seek(container: InputContainer, track: AudioStream, time_s: float) -> bool:
    assert track.time_base is not None
    try:
        ticks = math.floor((time_s + zero_s(container)) / track.time_base)
        container.seek(ticks, stream=track)
    except av.FFmpegError:
        return False
    return True


def _frames(container: InputContainer, track: AudioStream) -> Iterator[AudioFrame]:
    for packet in packets(container, track):
        try:
            frames = track.decode(packet)
        except av.FFmpegError:
            continue  # damaged: go on with the next
        yield from frames


def _chain(head: AudioFrame, rest: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    yield head
    yield from rest


def _laid(frames: Iterable[AudioFrame], clock: _Clock, length_s: float) -> Iterator[Float32Array]:
    """Mono blocks (n,) at the first frame's rate, laid end to end from the clock's base on for
    `length_s`: what is missing is silent, what comes twice or before is dropped."""
    mix, position = _Mix(), 0
    for frame in frames:
        time_s, block = clock.read(frame), mix.mono(frame)
        if time_s is not None and time_s >= length_s:
            yield _silence(max(0, round(length_s * mix.rate_hz) - position))
            return
        at = position if time_s is None else round(time_s * mix.rate_hz)
        if position and abs(at - position) <= _JITTER_S * mix.rate_hz:
            at = position
        if at > position:
            yield _silence(at - position)
        yield block[max(0, position - at) :]
        position = max(position, at + len(block))


class _Mix:
    """Frames of whatever channels and format as mono, at the first one's rate."""

    def __init__(self) -> None:
        self.rate_hz = 0
        self._kind: tuple[str, str, int] | None = None

    def mono(self, frame: AudioFrame) -> Float32Array:
        """(n,) float32."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # it may change midway in a broadcast
            self._kind, self.rate_hz = kind, self.rate_hz or frame.sample_rate
            # Else FFmpeg's matrix adds channels up beyond 1 where samples are of floating point.
            options = {"rematrix_maxval": "1.0"}
            self._resampler = av.AudioResampler("flt", "mono", self.rate_hz, options=options)
        frame.pts = None  # where it stands is told otherwise
        return _joined(self._resampler.resample(frame))


def _resampled(
    blocks: Iterable[Float32Array], source_hz: int, rate_hz: int
) -> Iterator[Float32Array]:
    if source_hz == rate_hz:
        yield from blocks
        return
    resampler = av.AudioResampler("flt", "mono", rate_hz)
    for block in _gathered(blocks, source_hz):
        frame = AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
        frame.sample_rate = source_hz
        yield _joined(resampler.resample(frame))
    yield _joined(resampler.resample(None))


def _gathered(blocks: Iterable[Float32Array], size: int) -> Iterator[Float32Array]:
    """The same in blocks of `size` or more: a call of FFmpeg costs as much as the work on a frame
    of a sound track does."""
    waiting: list[Float32Array] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= size:
            yield np.concatenate(waiting)
            waiting.clear()
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def _joined(frames: list[AudioFrame]) -> Float32Array:
    """(N,) of mono frames of float32."""
    parts = [
        np.frombuffer(frame.planes[0], np.float32, frame.samples)  # type: ignore[call-overload]
        for frame in frames
    ]
    return np.concatenate([*parts, _silence(0)])


def _silence(count: int) -> Float32Array:
    return np.zeros(count, dtype=np.float32)
