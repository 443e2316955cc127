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
from emoscope.media.limits import (
    MAX_CHANNELS,
    MAX_GAP_S,
    MAX_SAMPLE_RATE_HZ,
    MIN_SAMPLE_RATE_HZ,
)
from emoscope.media.reading.container import existing, open_media, zero_s
from emoscope.media.reading.log import ReadLog
from emoscope.media.reading.packets import PacketReader, can_seek
from emoscope.media.sound.mixing import Mixer, joined, mixed

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
    log: ReadLog | None = None,
) -> Sound:
    """Read the audio of a video or audio file from `start_s` to `end_s` or the end of the file.

    Channels are mixed down to mono by their layout, without clipping; where they cancel each other,
    the strongest is used (see `media.sound.mixing`). Missing and damaged parts, and the time before
    a track that starts late, become silence, so that times stay exact (to half a sample, and to the
    container's rounding). Where the file's clock restarts, the parts follow one another, as in
    `read_frames`. A truncated file gives the samples it contains; `log` receives remarks on it.

    Raises MediaError for a path that is missing, empty, or has no decodable audio, for a span that
    is empty or starts after the end, for gaps of more than 90 minutes, and for sample rates and
    numbers of channels beyond `media.limits`; ReadError if the system cannot read the file.
    """
    file = existing(path)
    _check(file, start_s, end_s, rate_hz)
    # Start at a whole second, so that a span's samples are aligned with those of the whole file.
    base_s = math.floor(max(0.0, start_s - _MARGIN_S))
    # End at a whole second as well, since channels are mixed second by second.
    length_s = math.inf if end_s is None else math.ceil(end_s + _MARGIN_S) - base_s
    samples = _decoded(file, base_s, length_s, rate_hz, end_s, ReadLog() if log is None else log)
    first = round((start_s - base_s) * rate_hz)
    if len(samples) <= first:
        raise MediaError(
            f"{file}: the start ({start_s:g} s) is past the end of its sound."
            " Give an earlier start."
        )
    last = None if end_s is None else first + round((end_s - start_s) * rate_hz)
    samples = samples[first:last]
    # Floating-point audio can contain NaN and values beyond 1. Changed in place to save memory.
    np.nan_to_num(samples, copy=False, nan=0.0).clip(-1, 1, out=samples)
    return Sound(samples, rate_hz, start_s)


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


def _decoded(
    path: Path, base_s: float, length_s: float, rate_hz: int, end_s: float | None, log: ReadLog
) -> Float32Array:
    """Samples (N,) from `base_s`, for `length_s` or up to the end of the track."""
    with open_media(path) as container:
        track = _audio_track(container, path)
        packets = PacketReader(container, track, path)
        frames = _frames_from(container, track, packets, base_s)
        head = next(frames, None)
        if head is None:
            raise MediaError(
                f"{path}: its sound cannot be decoded. Check that the file is complete."
            )
        if not _is_plausible(head):
            raise MediaError(
                f"{path}: its header states {head.sample_rate} Hz and {head.layout.nb_channels}"
                f" channels; {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz and at most"
                f" {MAX_CHANNELS} channels are read. Convert it."
            )
        source_hz = head.sample_rate
        clock = _Clock(container, track, base_s)
        placed = _placed(itertools.chain([head], frames), clock, length_s, path)
        blocks = _resampled(mixed(placed, source_hz), source_hz, rate_hz)
        samples = np.concatenate([np.zeros(0, dtype=np.float32), *blocks])
        log.add_restarts(packets.restarts_s)
        sound_end_s = base_s + len(samples) / rate_hz
        log.add_end("sound", sound_end_s, packets.expected_end_s(), end_s)
        return samples


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
        self.base_s = base_s
        self._zero_s = zero_s(container) + base_s

    def read(self, frame: AudioFrame) -> float | None:
        """Time of a frame; None if it has none."""
        return None if frame.pts is None else frame.pts * self._tick / self._ticks - self._zero_s


def _frames_from(
    container: InputContainer, track: AudioStream, packets: PacketReader, from_s: float
) -> Iterator[AudioFrame]:
    """Decode from a frame at or before `from_s`: by seeking, or from the start if that fails."""
    if from_s > 0 and can_seek(container):
        if _seek(container, track, from_s - _SEEK_BACK_S):
            frames = _frames(packets)
            head = next(frames, None)
            time_s = _Clock(container, track, 0.0).read(head) if head else None
            if head is not None and time_s is not None and time_s <= from_s:
                yield head
                yield from frames
                return
        _seek(container, track, -_SEEK_BACK_S)
    yield from _frames(packets)


def _is_plausible(frame: AudioFrame) -> bool:
    """Whether the rate and the number of channels are ones that recordings have."""
    is_rate = MIN_SAMPLE_RATE_HZ <= frame.sample_rate <= MAX_SAMPLE_RATE_HZ
    return is_rate and 1 <= frame.layout.nb_channels <= MAX_CHANNELS


def _seek(container: InputContainer, track: AudioStream, time_s: float) -> bool:
    assert track.time_base is not None
    try:
        ticks = math.floor((time_s + zero_s(container)) / track.time_base)
        container.seek(ticks, stream=track)
    except av.FFmpegError:
        return False
    return True


def _frames(packets: PacketReader) -> Iterator[AudioFrame]:
    for packet in packets:
        yield from packets.decode(packet)


def _placed(
    frames: Iterable[AudioFrame], clock: _Clock, length_s: float, path: Path
) -> Iterator[Float32Array]:
    """Yield contiguous blocks like those of `Mixer`, for `length_s` from the clock's base.

    (1 + channels, n). Gaps are filled with silence, overlaps are dropped, and so are frames of an
    implausible kind. Raises MediaError for too long gaps."""
    mixer, position, silent = Mixer(), 0, 0
    for frame in filter(_is_plausible, frames):
        time_s, block = clock.read(frame), mixer.rows_of(frame)
        is_beyond = time_s is not None and time_s >= length_s
        start = position if time_s is None else round(min(time_s, length_s) * mixer.rate_hz)
        if position and abs(start - position) <= _JITTER_S * mixer.rate_hz and not is_beyond:
            start = position
        gap = max(0, start - position)
        silent += gap
        if silent > MAX_GAP_S * mixer.rate_hz:
            time_s, gap_s = clock.base_s + position / mixer.rate_hz, gap / mixer.rate_hz
            raise MediaError(
                f"{path}: its sound has a gap of {gap_s / 3600:.1f} h at {time_s:.4g} s, and only"
                " 90 minutes are filled. Analyse the parts by start and end."
            )
        for first in range(0, gap, mixer.rate_hz):
            yield np.zeros((mixer.rows, min(mixer.rate_hz, gap - first)), dtype=np.float32)
        if is_beyond:
            return
        yield block[:, max(0, position - start) :]
        position = max(position, start + block.shape[1])


def _resampled(
    blocks: Iterable[Float32Array], source_hz: int, rate_hz: int
) -> Iterator[Float32Array]:
    if source_hz == rate_hz:
        yield from blocks
        return
    resampler = av.AudioResampler("flt", "mono", rate_hz)
    for block in blocks:
        frame = AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
        frame.sample_rate = source_hz
        yield joined(resampler.resample(frame))
    yield joined(resampler.resample(None))
