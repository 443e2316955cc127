"""Read audio as mono samples, with the same time zero as the video's frames."""

import itertools
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


RATE_HZ = 16_000  # usual rate of speech features
_SEEK_BACK_S = 1.0  # decoders need some audio before the target to be exact
_MARGIN_S = 0.1  # the resampler's filter reaches beyond the span
_JITTER_S = 0.02  # containers round times: smaller gaps and overlaps are ignored


@dataclass(frozen=True, eq=False)
class Sound:
    """Mono audio: sample i is at time `start_s + i / rate_hz` of the file."""

    samples: Float32Array  # (N,) in [-1, 1]
    rate_hz: int
    start_s: float = 0.0

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / self.rate_hz

    def between(self, start_s: float, end_s: float) -> Float32Array:
        """Samples (M,) of a span, fewer if the audio does not cover it."""
        first = round((start_s - self.start_s) * self.rate_hz)
        last = first + round((end_s - start_s) * self.rate_hz)
        return self.samples[max(first, 0) : max(last, 0)]

    def during(self, start_s: float, end_s: float) -> Float32Array:
        """Samples (M,) of a span, padded with silence where there is no audio."""
        first = round((start_s - self.start_s) * self.rate_hz)
        span = np.zeros(max(0, round((end_s - start_s) * self.rate_hz)), dtype=np.float32)
        samples = self.samples[max(first, 0) : max(first + len(span), 0)]
        offset = max(-first, 0)
        span[offset : offset + len(samples)] = samples
        return span


def is_silent(samples: FloatArray) -> bool:
    """Whether samples (N,) in [-1, 1] are all smaller than one step of 16-bit audio."""
    return not len(samples) or float(np.abs(samples).max()) < 2**-15


def read_sound(
    path: str | Path,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    rate_hz: int = RATE_HZ,
) -> Sound:
    """Read the audio of a video or audio file from `start_s` to `end_s` or the end of the file.

    Channels are mixed down to mono without clipping. Missing and damaged parts, and the time before
    a track that starts late, become silence, so that times stay exact (to half a sample, and to the
    container's rounding). A truncated file gives the samples it contains.

    Raises MediaError for a path that is missing, empty, or has no decodable audio, and for a span
    that is empty or starts after the end.
    """
    file = existing(path)
    _check(file, start_s, end_s, rate_hz)
    # Start at a whole second, so that a span's samples are aligned with those of the whole file.
    base_s = math.floor(max(0.0, start_s - _MARGIN_S))
    length_s = math.inf if end_s is None else end_s + _MARGIN_S - base_s
    samples = _decoded(file, base_s, length_s, rate_hz)
    first = round((start_s - base_s) * rate_hz)
    if len(samples) <= first:
        raise MediaError(
            f"{file}: the start ({start_s:g} s) is past the end of its sound."
            " Give an earlier start."
        )
    last = None if end_s is None else first + round((end_s - start_s) * rate_hz)
    # Floating-point audio can contain NaN and values beyond 1.
    return Sound(np.nan_to_num(samples[first:last], nan=0.0).clip(-1, 1), rate_hz, start_s)


def _check(path: Path, start_s: float, end_s: float | None, rate_hz: int) -> None:
    if path.is_dir():
        raise MediaError(f"{path}: a folder has no sound. Give a video or audio file.")
    if rate_hz < 1:
        raise MediaError(f"{path}: the rate must be 1 Hz or more, got {rate_hz}.")
    if not 0 <= start_s < math.inf:
        raise MediaError(f"{path}: the start must be 0 s or more, got {start_s}.")
    if end_s is not None and not end_s > start_s:
        raise MediaError(
            f"{path}: the end ({end_s:g} s) is not after the start ({start_s:g} s)."
            " Give a later end."
        )


def _decoded(path: Path, base_s: float, length_s: float, rate_hz: int) -> Float32Array:
    """Samples (N,) from `base_s`, for `length_s` or up to the end of the track."""
    with open_media(path) as container:
        track = _audio_track(container, path)
        frames = _frames_from(container, track, base_s)
        head = next(frames, None)
        if head is None:
            raise MediaError(
                f"{path}: its sound cannot be decoded. Check that the file is complete."
            )
        clock = _Clock(container, track, base_s)
        blocks = _placed(itertools.chain([head], frames), clock, length_s)
        return np.concatenate(list(_resampled(blocks, head.sample_rate, rate_hz)))


def _audio_track(container: InputContainer, path: Path) -> AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        raise MediaError(f"{path}: the file has no sound. Give one with a sound track.")
    if stream.codec_context is None:
        raise MediaError(f"{path}: FFmpeg has no decoder for its audio codec. Convert it to AAC.")
    return stream


class _Clock:
    """Times of audio frames in seconds after `base_s`."""

    def __init__(self, container: InputContainer, track: AudioStream, base_s: float) -> None:
        assert track.time_base is not None  # set for every stream of an open file
        self._tick, self._ticks = track.time_base.as_integer_ratio()
        self._zero_s = zero_s(container) + base_s
        duration_s = container.duration / av.time_base if container.duration else math.inf
        self._latest_s = duration_s + 1.0 - base_s

    def read(self, frame: AudioFrame) -> float | None:
        """Time of a frame; None if it is missing or beyond the end of the file."""
        if frame.pts is None:
            return None
        time_s = frame.pts * self._tick / self._ticks - self._zero_s
        return time_s if time_s <= self._latest_s else None


def _frames_from(
    container: InputContainer, track: AudioStream, from_s: float
) -> Iterator[AudioFrame]:
    """Decode from a frame at or before `from_s`: by seeking, or from the start if that fails."""
    assert track.time_base is not None
    if from_s > 0 and _seek(container, track, from_s - _SEEK_BACK_S):
        frames = _frames(container, track)
        head = next(frames, None)
        time_s = _Clock(container, track, 0.0).read(head) if head else None
        if head is not None and time_s is not None and time_s <= from_s:
            yield head
            yield from frames
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


def _placed(frames: Iterable[AudioFrame], clock: _Clock, length_s: float) -> Iterator[Float32Array]:
    """Mono blocks (n,) at the first frame's rate, contiguous from the clock's base for `length_s`.

    Gaps are filled with silence, overlaps are dropped."""
    mixer, position = _Mixer(), 0
    for frame in frames:
        time_s, block = clock.read(frame), mixer.mono(frame)
        if time_s is not None and time_s >= length_s:
            yield _silence(max(0, round(length_s * mixer.rate_hz) - position))
            return
        start = position if time_s is None else round(time_s * mixer.rate_hz)
        if position and abs(start - position) <= _JITTER_S * mixer.rate_hz:
            start = position
        if start > position:
            yield _silence(start - position)
        yield block[max(0, position - start) :]
        position = max(position, start + len(block))


class _Mixer:
    """Converts frames of any channel layout and format to mono, at the first frame's rate."""

    def __init__(self) -> None:
        self.rate_hz = 0
        self._kind: tuple[str, str, int] | None = None

    def mono(self, frame: AudioFrame) -> Float32Array:
        """Convert to (n,) float32."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # it can change within a broadcast
            self._kind, self.rate_hz = kind, self.rate_hz or frame.sample_rate
            # By default the sum of floating-point channels can exceed 1.
            options = {"rematrix_maxval": "1.0"}
            self._resampler = av.AudioResampler("flt", "mono", self.rate_hz, options=options)
        frame.pts = None  # `_placed` handles times
        return _joined(self._resampler.resample(frame))


def _resampled(
    blocks: Iterable[Float32Array], source_hz: int, rate_hz: int
) -> Iterator[Float32Array]:
    if source_hz == rate_hz:
        yield from blocks
        return
    resampler = av.AudioResampler("flt", "mono", rate_hz)
    for block in _merged(blocks, source_hz):
        frame = AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
        frame.sample_rate = source_hz
        yield _joined(resampler.resample(frame))
    yield _joined(resampler.resample(None))


def _merged(blocks: Iterable[Float32Array], size: int) -> Iterator[Float32Array]:
    """Merge blocks to at least `size` samples, as each call of FFmpeg has a large fixed cost."""
    waiting: list[Float32Array] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= size:
            yield np.concatenate(waiting)
            waiting.clear()
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def _joined(frames: list[AudioFrame]) -> Float32Array:
    """Concatenate mono float32 frames to (N,)."""
    parts = [
        np.frombuffer(frame.planes[0], np.float32, frame.samples)  # type: ignore[call-overload]
        for frame in frames
    ]
    return np.concatenate([*parts, _silence(0)])


def _silence(count: int) -> Float32Array:
    return np.zeros(count, dtype=np.float32)
