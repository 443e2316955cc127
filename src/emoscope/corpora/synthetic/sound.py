"""Synthetic voices, by source and filter and without words, and footsteps."""

from dataclasses import dataclass

import numpy as np

from emoscope.core.arrays import Float32Array, FloatArray
from emoscope.corpora.synthetic.motion import Style, Syllable

__all__ = ["RATE_HZ", "Voice", "draw_voice", "footsteps", "mixed", "speech"]


RATE_HZ = 16_000
_TOP_HZ = 7_000.0
_DARK_HZ = (450.0, 900.0, 2500.0)  # formants of a vowel as in "caught" ...
_BRIGHT_HZ = (550.0, 1900.0, 2600.0)  # ... and as in "bet"
_BANDWIDTHS_HZ = (90.0, 120.0, 180.0)
_HARSHNESS = {"warm": 0.25, "harsh": 0.75}


@dataclass(frozen=True)
class Voice:
    """The voice of a person."""

    pitch_hz: float
    tract: float  # factor of the formants: larger for a shorter vocal tract
    tilt_db: float  # added to the slope of the spectrum, dB per octave

    @property
    def register(self) -> str:
        """Register for the manifest: low, middle or high."""
        return "low" if self.pitch_hz < 125 else "middle" if self.pitch_hz < 180 else "high"


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draw a voice at random. Higher voices have a shorter vocal tract."""
    height = rng.uniform(0, 1)
    return Voice(
        pitch_hz=float(90 * 2.6**height),
        tract=float(0.92 + 0.22 * height + rng.normal(0, 0.02)),
        tilt_db=float(rng.normal(0, 1.2)),
    )


def speech(
    rng: np.random.Generator,
    voice: Voice,
    style: Style,
    spoken: tuple[Syllable, ...],
    seconds: float,
) -> FloatArray:
    """Syllables in a warm or a harsh voice: (N,) at RATE_HZ.

    A warm voice is low, breathy and smooth; a harsh one is raised, bright, rough and abrupt. Clips
    vary around their style, so that the two styles overlap slightly. The tempo does not differ,
    because the mouth would show it.
    """
    harshness = float(np.clip(rng.normal(_HARSHNESS[style], 0.12), 0, 1))
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = np.zeros(len(times_s))
    for syllable in spoken:
        inside = (times_s >= syllable.start_s) & (times_s < syllable.end_s)
        if inside.any():
            sound[inside] += _syllable(rng, voice, harshness, syllable, times_s[inside])
    return sound


def _syllable(
    rng: np.random.Generator,
    voice: Voice,
    harshness: float,
    syllable: Syllable,
    times_s: FloatArray,
) -> FloatArray:
    place = (times_s - syllable.start_s) / (syllable.end_s - syllable.start_s)
    raised = 0.92 + 0.38 * harshness + rng.normal(0, 0.03)
    pitch_hz = voice.pitch_hz * raised * (1.06 - 0.12 * place)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    orders = np.arange(1, int(_TOP_HZ / pitch_hz.max()) + 1)
    levels = _spectrum(orders * pitch_hz.mean(), voice, harshness, syllable.vowel)
    levels /= np.sqrt((levels**2).sum())
    voiced = _harmonics(phase, levels)
    rough = 1 - 0.5 * harshness * (0.5 + 0.5 * np.sin(phase / 2 + rng.uniform(0, 2 * np.pi)))
    breath = 0.12 * (1 - harshness) * _breath(rng, len(times_s))
    envelope = np.sin(np.pi * place) ** (2.0 - 1.4 * harshness)
    return syllable.strength * envelope * (voiced * rough + breath)


def _harmonics(phase: FloatArray, levels: FloatArray) -> FloatArray:
    """Sum of sines at the multiples of a phase, by Chebyshev's recurrence: two products each."""
    twice_cos, before, now = 2 * np.cos(phase), np.zeros_like(phase), np.sin(phase)
    total = levels[0] * now
    for level in levels[1:]:
        before, now = now, twice_cos * now - before
        total += level * now
    return total


def _spectrum(freqs_hz: FloatArray, voice: Voice, harshness: float, vowel: float) -> FloatArray:
    """Amplitudes of the voice at given frequencies: slope of the source and three formants."""
    slope_db = -14 + 8 * harshness + voice.tilt_db
    gain = 10 ** (slope_db * np.log2(freqs_hz / 100) / 20)
    for dark_hz, bright_hz, bandwidth_hz in zip(_DARK_HZ, _BRIGHT_HZ, _BANDWIDTHS_HZ, strict=True):
        formant_hz = voice.tract * (dark_hz + vowel * (bright_hz - dark_hz))
        gain *= formant_hz / np.hypot(
            (freqs_hz**2 - formant_hz**2) / formant_hz, bandwidth_hz * freqs_hz / formant_hz
        )
    return gain


def _breath(rng: np.random.Generator, num: int) -> FloatArray:
    """Low-pass noise."""
    noise = rng.standard_normal(num + 3)
    return (noise[:-3] + noise[1:-2] + noise[2:-1] + noise[3:]) / 2


def footsteps(rng: np.random.Generator, steps_s: FloatArray, seconds: float) -> FloatArray:
    """A thump at each of the times: (N,) at RATE_HZ."""
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = np.zeros(len(times_s))
    for step_s in steps_s:
        since_s = times_s - step_s
        inside = (since_s >= 0) & (since_s < 0.12)
        thump = np.sin(2 * np.pi * rng.uniform(70, 95) * since_s[inside])
        scrape = 0.3 * rng.standard_normal(int(inside.sum()))
        sound[inside] += (thump + scrape) * np.exp(-since_s[inside] / 0.025)
    return sound


def mixed(rng: np.random.Generator, *parts: FloatArray) -> Float32Array:
    """Sum of sounds at a random loudness, with the noise of a room: (N,) float32."""
    sound = np.sum(parts, axis=0)
    loudness = 0.08 * 10 ** (rng.uniform(-4, 4) / 20)
    sound = sound * loudness / max(float(np.sqrt((sound**2).mean())), 1e-6)
    room = rng.standard_normal(len(sound)) * 10 ** rng.uniform(-3.2, -2.6)
    return np.tanh(sound + room).astype(np.float32)
