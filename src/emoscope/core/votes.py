"""Votes combine the predictions for many units, such as frames, blocks or windows, into one.

A vote takes probabilities (U, C) of U units and returns a distribution (C,). Optional weights (U,)
with a positive sum weight the units. A vote may use the labels of the C columns. To add one, write
a function here and register it; recipes, `analyze` and the reference page list what is registered.
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
        """Combine the units' probabilities into one distribution."""
        ...


VOTES: Registry[Vote] = Registry("vote")
DEFAULT_VOTE = "sum-probability"
DEFAULT_FRAME_VOTE = "expressive-weighted"  # for image models, whose units are frames

_TOLERANCE = 1e-9  # rounding error of sums of seconds or probabilities
_TIE_MARGIN = 1e-4  # large enough to remain visible in tables of a few digits
_NEUTRAL_WEIGHT = 1 / 6  # of a unit with probability 1 for neutral; see benchmarks/clip_votes.py


@VOTES.register("sum-probability")
def sum_probability(
    probs: FloatArray, weights: FloatArray | None = None, labels: Sequence[str] = ()
) -> FloatArray:
    """Weighted mean of the units' probabilities (Salinas, "Spatio-Temporal Emotion Recognition").

    >>> sum_probability(np.array([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]]))
    array([0.4, 0.6])
    """
    return np.asarray(np.average(np.asarray(probs, dtype=np.float64), axis=0, weights=weights))


@VOTES.register("max-probability")
def max_probability(
    probs: FloatArray, weights: FloatArray | None = None, labels: Sequence[str] = ()
) -> FloatArray:
    """Share of the units whose most probable class each class is (Salinas, "Spatio-Temporal
    Emotion Recognition").

    If classes tie, the one with the larger sum of probabilities is raised by 0.0001 (ours).

    >>> max_probability(np.array([[0.6, 0.4], [0.0, 1.0], [0.6, 0.4], [0.9, 0.1]]))
    array([0.75, 0.25])
    """
    ballots = np.eye(probs.shape[1])[probs.argmax(axis=1)]
    shares = sum_probability(ballots, weights)
    tied = _largest(shares)
    if tied.sum() > 1:
        sums = np.where(tied, sum_probability(probs, weights), 0.0)
        shares[_largest(sums).argmax()] += _TIE_MARGIN
        shares /= shares.sum()
    return shares


@VOTES.register("expressive-weighted")
def expressive_weighted(
    probs: FloatArray, weights: FloatArray | None = None, labels: Sequence[str] = ()
) -> FloatArray:
    """Weighted mean in which a neutral unit counts a sixth of an expressive one (ours).

    A short expression is not outweighed by the neutral face around it, while a video that is
    neutral throughout stays neutral. If no label is "neutral", this is `sum_probability`.

    >>> units = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> expressive_weighted(units, labels=("neutral", "happiness"))
    array([0.25, 0.75])
    """
    if "neutral" not in labels:
        return sum_probability(probs, weights)
    probs = np.asarray(probs, dtype=np.float64)
    expressive = 1 - (1 - _NEUTRAL_WEIGHT) * probs[:, labels.index("neutral")]
    return sum_probability(probs, expressive if weights is None else expressive * weights)


def _largest(values: FloatArray) -> BoolArray:
    """Mask of the values that equal the maximum."""
    return np.asarray(values > values.max() - _TOLERANCE)
