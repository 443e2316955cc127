"""Log-mel spectrograms: against explicit sums, of tones, of silence."""

import math

import numpy as np
import pytest
from sounding import RATE_HZ, silence, tone

from emoscope.core.errors import SpecError
from emoscope.media.sound.logmel import FLOOR_DB, log_mel


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return samples.astype(np.float32)


def mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def written_out(signal: np.ndarray, row: int, band: int, mels: int) -> float:
    """One number, by the definition: 400 samples about the middle of the row's 160, their discrete
    Fourier transform by its sum, a triangle on the mel scale, 60 Hz to 8 kHz."""
    middle = 160 * row + 80
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    places = range(middle - 200, middle + 200)
    frame = np.array([signal[i] if 0 <= i < len(signal) else 0.0 for i in places]) * window
    step = (mel(8000) - mel(60)) / (mels + 1)
    centre = mel(60) + (band + 1) * step
    energy = 0.0
    for k in range(513):
        weight = max(0.0, 1 - abs(mel(k * RATE_HZ / 1024) - centre) / step)
        if weight:
            turns = np.exp(-2j * np.pi * k * np.arange(400) / 1024)
            energy += weight * abs((frame * turns).sum()) ** 2
    return 10 * math.log10(2 * energy / (1024 * sum(w * w for w in window)))


def test_values_equal_the_definition() -> None:
    signal = noise(0.05)
    values = log_mel(signal, RATE_HZ, 5, 6)
    expected = [[written_out(signal, row, band, 6) for band in range(6)] for row in range(5)]
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, atol=1e-3)


@pytest.mark.parametrize("hz", [150.0, 440.0, 1000.0, 3000.0, 7000.0])
@pytest.mark.parametrize("mels", [40, 64])
def test_a_tone_is_in_its_band(hz: float, mels: int) -> None:
    values = log_mel(tone(hz, 0.5), RATE_HZ, 50, mels)
    step = (mel(8000) - mel(60)) / (mels + 1)
    assert np.abs(values[5:-5].argmax(axis=1) - ((mel(hz) - mel(60)) / step - 1)).max() <= 0.51


@pytest.mark.parametrize("mels", [1, 20, 64, 128])
def test_the_bands_add_up_to_the_power_of_the_sound(mels: int) -> None:
    energies = 10 ** (log_mel(tone(1000, 0.5), RATE_HZ, 50, mels)[5:-5] / 10)
    share = (
        1.0
        if mels > 1
        else 1 - abs(mel(1000) - (mel(60) + mel(8000)) / 2) / ((mel(8000) - mel(60)) / 2)
    )
    np.testing.assert_allclose(energies.sum(axis=1), share * 0.5**2 / 2, rtol=0.01)


@pytest.mark.parametrize("samples", [silence(0.3), silence(0), np.full(800, 1e-9, np.float32)])
def test_silence_is_the_floor(samples: np.ndarray) -> None:
    values = log_mel(samples, RATE_HZ, 20, 64)
    assert values.shape == (20, 64)
    assert (values == FLOOR_DB).all()


def test_a_gain_adds_the_same_everywhere() -> None:
    loud, soft = (log_mel(gain * noise(0.5), RATE_HZ, 50, 64) for gain in (1.0, 0.25))
    np.testing.assert_allclose(loud - soft, 20 * math.log10(4), atol=1e-3)


def test_longer_audio_is_cut_and_shorter_audio_padded_in_front() -> None:
    whole = noise(0.5)
    long, short = (log_mel(part, RATE_HZ, 20, 16) for part in (whole, whole[-1600:]))
    np.testing.assert_array_equal(long, log_mel(whole[-3200:], RATE_HZ, 20, 16))
    assert (short[:8] == FLOOR_DB).all()
    np.testing.assert_allclose(short[12:], long[12:], atol=1e-4)


@pytest.mark.parametrize("row", [0, 7, 19])
def test_a_row_covers_its_own_ten_milliseconds(row: int) -> None:
    click = silence(0.2)
    click[160 * row + 80] = 1
    assert log_mel(click, RATE_HZ, 20, 16).mean(axis=1).argmax() == row


@pytest.mark.parametrize(
    ("samples", "rate_hz", "reason"),
    [
        (np.zeros((2, 800), np.float32), RATE_HZ, "finite samples"),
        (np.full(800, np.nan, np.float32), RATE_HZ, "finite samples"),
        (np.zeros(800, np.float32), 44_100, "at 16000 Hz, got 44100. Resample it"),
    ],
)
def test_invalid_audio_is_refused(samples: np.ndarray, rate_hz: int, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        log_mel(samples, rate_hz, 5, 16)
