"""Sound as tests make it: `from sounding import tone, write_wav`."""

import tarfile
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE_HZ = 16_000


def tone(hz: float, seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    """(N,): half as loud as can be."""
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * times_s)).astype(np.float32)


def silence(seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    return np.zeros(round(seconds * rate_hz), np.float32)


def semitones(hz: float) -> float:
    """Above 27.5 Hz, as eGeMAPS counts them."""
    return float(12 * np.log2(hz / 27.5))


def write_wav(path: Path, samples: NDArray[np.floating], rate_hz: int = RATE_HZ) -> Path:
    """16 bits; (N,) or (N, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], 2, rate_hz, 0, "NONE", ""))
        file.writeframes(np.round(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())
    return path


def from_ravdess(shared: Path, name: str, folder: Path) -> Path:
    """One recording of the corpus, a few seconds of speech: 16 kHz mono FLAC."""
    with tarfile.open(shared / "data" / "ravdess-speech-actors01-20.tar") as tar:
        member = tar.extractfile(f"ravdess/Actor_{name[-2:]}/{name}.flac")
        assert member is not None
        path = folder / f"{name}.flac"
        path.write_bytes(member.read())
    return path
