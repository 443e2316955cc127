"""Votes: one answer out of what a model says of many units, as of a clip's frames, blocks or
windows.

A vote takes probabilities (U, C) and, where the units do not count alike, weights (U,) of a
positive sum, and gives a distribution (C,) whose largest entry is the answer. It is told the labels
of the C columns, for what depends on their meaning. To add one, write it here and register it:
recipes, `analyze` and the reference page offer what is registered.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from emoscope.core.arrays import BoolArray, FloatArray
from emoscope.core.registry import Registry

__all__ = [
    "DEFAULT_FRAME_VOTE",
    "DEFAULT_VOTE",
    "VOTES",
    "Vote",
    "expressive_weighted",
    "max_probability",
    "sum_probability",
]


class Vote(Protocol):
    """Probabilities (U, C), weights (U,), labels of the columns -> (C,)."""

    def __call__(
        self, probs: FloatArray, weights: FloatArray | None = None, labels: Sequence[str] = ()
    ) -> FloatArray:
        """The answer, as a distribution."""
        ...


VOTES: Registry[Vote] = Registry("vote")
DEFAULT_VOTE = "sum-probability"
DEFAULT_FRAME_VOTE = "expressive-weighted"  # of what an image model says frame by frame

_EQUAL = 1e-9  # what rounding makes of equal seconds, and of one sum in another order
_AHEAD = 1e-4  # a share that tables of a few digits still show
_NEUTRAL_COUNTS = 1 / 6  # of a frame that is nothing but neutral; see benchmarks/clip_votes.py


@VOTES.register("sum-probability")
def sum_probability(
    probs: FloatArray, weights: FloatArray | None = None, labels: Sequence[str] = ()
) -> FloatArray:
    """Add the units' probabilities: their weighted mean (Salinas, "Spatio-Temporal Emotion
    Recognition")."""
    return np.asarray(np.average(np.asarray(probs, dtype=np.float64), axis=0, weights=weights))


@VOTES.register("max-probability")
def max_probability(
    probs: FloatArray, weights: FloatArray | None = None, labels: Sequence[str] = ()
) -> FloatArray:
    """Each unit votes for its most probable class: the share of the votes that each class gets
    (Salinas, "Spatio-Temporal Emotion Recognition"). Of tied classes the one with the larger sum of
    probabilities is put ahead by a ten-thousandth (ours)."""
    ballots = np.eye(probs.shape[1])[probs.argmax(axis=1)]
    shares = sum_probability(ballots, weights)
    tied = _largest(shares)
    if tied.sum() > 1:
        sums = np.where(tied, sum_probability(probs, weights), 0.0)
        shares[_largest(sums).argmax()] += _AHEAD
        shares /= shares.sum()
    return shares


@VOTES.register("expressive-weighted")
def expressive_weighted(
    probs: FloatArray, weights: FloatArray | None = None, labels: Sequence[str] = ()
) -> FloatArray:
    """Add the units' probabilities, a surely neutral unit counting a sixth of one that surely is
    not: an expression that comes and goes is not drowned by the face at rest between, and a film
    that is neutral throughout stays so. Labels without "neutral": sum-probability (ours)."""
    if "neutral" not in labels:
        return sum_probability(probs, weights)
    said = np.asarray(probs, dtype=np.float64)
    counts = 1 - (1 - _NEUTRAL_COUNTS) * said[:, labels.index("neutral")]
    return sum_probability(said, counts if weights is None else counts * weights)


def _largest(values: FloatArray) -> BoolArray:
    return np.asarray(values > values.max() - _EQUAL)
