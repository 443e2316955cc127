"""Mix channels down to mono by their layout, so that no voice is lost.

One or two channels are averaged. With more, the centre, which carries the voices of a film, keeps
its level; the front sides count half, the others a quarter, and the low-frequency channel nothing.
Where a second of the sum exceeds full scale, that second is scaled down.

Where the channels of a second cancel each other, as those of a microphone wired in antiphase do,
the strongest channel takes the place of the mix.
"""

from collections.abc import Iterable, Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame

from emoscope.core.arrays import Float32Array

__all__ = ["Mixer", "joined", "mixed"]

_WEIGHTS = {"FC": 1.0, "FL": 0.5, "FR": 0.5, "FLC": 0.5, "FRC": 0.5, "LFE": 0.0, "LFE2": 0.0}
_OTHER = 0.25
_CANCELLED = 0.1  # power of the mix, relative to that of the strongest channel


class Mixer:
    """Converts frames of any layout and format to floating point, at the first frame's rate."""

    def __init__(self) -> None:
        self.rate_hz = 0
        self.rows = 0
        self._kind: tuple[str, str, int] | None = None

    def rows_of(self, frame: AudioFrame) -> Float32Array:
        """(1 + channels, n): the mix, then every channel in it; (1, n) for mono.

        The number of rows is that of the first frame, even if the layout changes."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # it can change within a broadcast
            self._kind, self.rate_hz = kind, self.rate_hz or frame.sample_rate
            # By default the sum of floating-point channels can exceed 1.
            options = {"rematrix_maxval": "1.0"}
            self._mono = av.AudioResampler("flt", "mono", self.rate_hz, options=options)
            self._split = av.AudioResampler("flt", frame.layout, self.rate_hz)
            self._weights = _weights([channel.name for channel in frame.layout.channels])
        frame.pts = None  # times are the caller's
        count = len(self._weights)
        if count == 1:
            rows = joined(self._mono.resample(frame))[None]
        else:
            channels = joined(self._split.resample(frame), count)
            mix = self._weights @ channels if count > 2 else joined(self._mono.resample(frame))
            rows = np.vstack([mix, channels[self._weights > 0]])
        self.rows = self.rows or len(rows)
        if len(rows) == self.rows:
            return rows
        fitted = np.zeros((self.rows, rows.shape[1]), dtype=np.float32)
        fitted[: len(rows)] = rows[: self.rows]
        return fitted


def _weights(channels: list[str]) -> Float32Array:
    """Weight of each channel in the mix; equal ones if the file does not name them."""
    if len(channels) <= 2 or not {"FC", "FL", "FR"} & set(channels):
        return np.full(len(channels), 1 / len(channels), dtype=np.float32)
    return np.array([_WEIGHTS.get(name, _OTHER) for name in channels], dtype=np.float32)


def mixed(blocks: Iterable[Float32Array], rate_hz: int) -> Iterator[Float32Array]:
    """Mono blocks (n,) of a second each, of contiguous blocks (1 + channels, n); the last may be
    shorter."""
    waiting: list[Float32Array] = []
    count = 0
    for block in blocks:
        while block.shape[1]:
            waiting.append(block[:, : rate_hz - count])
            block = block[:, waiting[-1].shape[1] :]
            count += waiting[-1].shape[1]
            if count == rate_hz:
                yield np.ascontiguousarray(_mono(np.concatenate(waiting, axis=1)))
                waiting, count = [], 0
    if waiting:
        yield np.ascontiguousarray(_mono(np.concatenate(waiting, axis=1)))


def _mono(rows: Float32Array) -> Float32Array:
    """The mix of a second (1 + channels, n), or its strongest channel if the mix is cancelled."""
    mix, channels = rows[0], rows[1:]
    if not len(channels):
        return mix
    with np.errstate(all="ignore"):  # floating-point audio can contain NaN and infinity
        powers = np.square(channels).mean(axis=1)
        if np.square(mix).mean() < _CANCELLED * powers.max():
            return channels[powers.argmax()]
        peak = np.abs(mix).max()
        return mix / peak if len(channels) > 2 and 1 < peak < np.inf else mix


def joined(frames: list[AudioFrame], channels: int = 1) -> Float32Array:
    """Concatenate packed float32 frames, mono to (n,), others to (channels, n)."""
    parts = [
        # Planar frames are not used: PyAV counts the planes of eight channels wrongly.
        np.frombuffer(frame.planes[0], np.float32, frame.samples * channels)  # type: ignore[call-overload]
        for frame in frames
    ]
    samples = np.concatenate([*parts, np.zeros(0, dtype=np.float32)])
    return samples if channels == 1 else samples.reshape(-1, channels).T
