"""Motion in a synthetic clip over time: expression, speech, head and eyelids.

All motion other than the expression has the same distribution forwards and backwards in time. Only
the order of the frames distinguishes a clip whose expression runs backwards from one whose
expression runs forwards.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from emoscope.core.arrays import FloatArray

__all__ = [
    "FPS",
    "Acting",
    "Dynamics",
    "Style",
    "Syllable",
    "act",
    "blinking",
    "drift",
    "intensity",
    "speaking",
    "syllables",
]

Dynamics = Literal["sudden", "gradual", "even"]
Style = Literal["warm", "harsh"]

FPS = 25
_SYLLABLE_S = (0.18, 0.34)
_PAUSES = 0.15  # share of syllables that are silent
_BLINK_EVERY_S, _BLINK_S = 2.5, 0.24


@dataclass(frozen=True)
class Syllable:
    """One voiced syllable: its times, loudness (0 to 1), and vowel, from dark (0) to bright (1)."""

    start_s: float
    end_s: float
    strength: float
    vowel: float


@dataclass(frozen=True, eq=False)
class Acting:
    """The script of one clip: the intensity of its expression in every frame, and its syllables."""

    apex: str
    times_s: FloatArray  # (T,)
    intensity: FloatArray  # (T,) from 0, at the first and last frame, to at most 1
    syllables: tuple[Syllable, ...]
    phase: float  # of the gait at the start, rad


def act(rng: np.random.Generator, apex: str, dynamics: Dynamics, seconds: float) -> Acting:
    """Draw the script of a clip at random."""
    num_frames = round(seconds * FPS)
    return Acting(
        apex,
        np.arange(num_frames) / FPS,
        intensity(rng, dynamics, num_frames),
        syllables(rng, num_frames / FPS),
        float(rng.uniform(0, 2 * np.pi)),
    )


def intensity(rng: np.random.Generator, dynamics: Dynamics, num_frames: int) -> FloatArray:
    """An expression's onset, apex and offset: (T,), 0 at both ends.

    "sudden" rises within 5 to 9 % of the clip and falls within about 30 %. "gradual" is its exact
    reversal for the same state of `rng`. "even" rises as fast as it falls. The apex is near the
    middle of the clip, on either side with equal probability.
    """
    centre, hold = rng.uniform(0.45, 0.55), rng.uniform(0.06, 0.12)
    short, long, medium = rng.uniform(0.05, 0.09), rng.uniform(0.28, 0.33), rng.uniform(0.16, 0.22)
    peak = rng.uniform(0.8, 1.0)
    rise, fall = (medium, medium) if dynamics == "even" else (short, long)
    place = (np.arange(num_frames) + 0.5) / num_frames
    up = np.clip(1 + (place - centre + hold / 2) / rise, 0, 1)
    down = np.clip(1 - (place - centre - hold / 2) / fall, 0, 1)
    forwards = peak * _smooth(up) * _smooth(down)
    return forwards[::-1] if dynamics == "gradual" else forwards


def syllables(rng: np.random.Generator, seconds: float) -> tuple[Syllable, ...]:
    """Syllables that cover a clip and extend beyond both of its ends."""
    shortest_s, longest_s = _SYLLABLE_S
    number = math.ceil(seconds / shortest_s) + 2
    lengths_s = rng.uniform(shortest_s, longest_s, number)
    ends_s = np.cumsum(lengths_s) - lengths_s.sum() / 2  # centred, so that time has no direction
    ends_s += seconds / 2 + rng.uniform(-0.5, 0.5) * shortest_s
    strengths, vowels = rng.uniform(0.55, 1.0, number), rng.uniform(0.0, 1.0, number)
    voiced = rng.random(number) >= _PAUSES
    return tuple(
        Syllable(float(end_s - length_s), float(end_s), float(strength), float(vowel))
        for end_s, length_s, strength, vowel, is_voiced in zip(
            ends_s, lengths_s, strengths, vowels, voiced, strict=True
        )
        if is_voiced and end_s > 0 and end_s - length_s < seconds
    )


def speaking(spoken: tuple[Syllable, ...], times_s: FloatArray) -> FloatArray:
    """Opening of the mouth by speech: (T,) from 0 to 1."""
    opening = np.zeros(len(times_s))
    for syllable in spoken:
        length_s = syllable.end_s - syllable.start_s
        place = np.clip((times_s - syllable.start_s) / length_s, 0, 1)
        opening += syllable.strength * np.sin(np.pi * place) ** 2
    return opening


def blinking(rng: np.random.Generator, times_s: FloatArray) -> FloatArray:
    """Closure of the eyelids: (T,) from 0 to 1."""
    seconds = len(times_s) / FPS
    closed = np.zeros(len(times_s))
    for at_s in rng.uniform(0, seconds, rng.poisson(seconds / _BLINK_EVERY_S)):
        place = np.clip((times_s - at_s) / _BLINK_S, -0.5, 0.5)
        closed = np.maximum(closed, np.cos(np.pi * place) ** 2)
    return closed


def drift(rng: np.random.Generator, times_s: FloatArray, num: int) -> FloatArray:
    """Slow random motion: (num, T), from -1 to 1."""
    rates_hz = rng.uniform(0.1, 0.9, (num, 3, 1))
    phases = rng.uniform(0, 2 * np.pi, (num, 3, 1))
    weights = rng.dirichlet(np.ones(3), num)[..., None]
    return (weights * np.sin(2 * np.pi * rates_hz * times_s + phases)).sum(axis=1)


def _smooth(ramp: FloatArray) -> FloatArray:
    return ramp * ramp * (3 - 2 * ramp)
