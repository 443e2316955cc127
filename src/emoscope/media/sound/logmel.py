"""Log-mel spectrograms: the energy of frequency bands every 10 ms."""

import functools

import numpy as np

from emoscope.core.arrays import Float32Array, Float64Array, FloatArray
from emoscope.core.clipspec import LOGMEL_HZ
from emoscope.core.errors import SpecError

__all__ = ["FLOOR_DB", "RATE_HZ", "log_mel"]


RATE_HZ = 16_000
FLOOR_DB = -100.0
"""Energy of silence in every band, below the noise of 16-bit audio."""

_FRAME, _HOP = RATE_HZ // 40, RATE_HZ // LOGMEL_HZ  # samples: 25 ms every 10 ms
_POINTS = 1024  # of the Fourier transform: with fewer, the lowest bands could be empty
_LOW_HZ, _HIGH_HZ = 60.0, RATE_HZ / 2


def log_mel(samples: FloatArray, rate_hz: int, steps: int, mels: int) -> Float32Array:
    """Compute the spectrogram (steps, mels) in dB of mono audio (N,) in [-1, 1].

    It covers the last `steps` x 10 ms; shorter audio is padded with silence in front. Row t is a
    Hann window of 25 ms centred on its 10 ms. The bands are triangles, evenly spaced on HTK's mel
    scale 2595 log10(1 + f / 700), from 60 Hz to 8 kHz. Between the outermost centres they sum to
    one, so that the energies of a row sum to the mean square of its window. Silence is FLOOR_DB,
    the minimum. Raises SpecError for samples that are not (N,), finite and at RATE_HZ.
    """
    signal = np.asarray(samples, dtype=np.float64)
    if signal.ndim != 1 or not np.isfinite(signal).all():
        raise SpecError(f"Audio must be (N,) finite samples, got {signal.shape} or not finite.")
    if rate_hz != RATE_HZ:
        raise SpecError(f"logmel needs audio at {RATE_HZ} Hz, got {rate_hz}. Resample it.")
    signal = signal[-steps * _HOP :]
    if not signal.any():  # quick, for a recording that is silent for hours
        return np.full((steps, mels), FLOOR_DB, dtype=np.float32)
    margin = (_FRAME - _HOP) // 2
    padded = np.pad(signal, (margin + steps * _HOP - len(signal), margin))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    window = np.hanning(_FRAME + 1)[:-1]
    spectrum = np.abs(np.fft.rfft(frames * window, _POINTS)) ** 2
    # Parseval's theorem; times 2 for the negative frequencies.
    energies = spectrum @ _bands(mels).T * (2 / (_POINTS * (window**2).sum()))
    return (10 * np.log10(np.maximum(energies, 10 ** (FLOOR_DB / 10)))).astype(np.float32)


@functools.cache
def _bands(mels: int) -> Float64Array:
    """Weight of each frequency in each band (mels, frequencies)."""
    edges = np.linspace(_mel(np.array(_LOW_HZ)), _mel(np.array(_HIGH_HZ)), mels + 2)
    frequencies = _mel(np.fft.rfftfreq(_POINTS, 1 / RATE_HZ))
    distance = np.abs(frequencies - edges[1:-1, None]) / (edges[1] - edges[0])
    return np.asarray((1 - distance).clip(0, None))


def _mel(freqs_hz: FloatArray) -> Float64Array:
    return np.asarray(2595 * np.log10(1 + freqs_hz / 700))
