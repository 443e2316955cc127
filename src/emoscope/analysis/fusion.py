"""Rules that join what several models say of the same rows.

Probabilities come as {model: (N, C)}, over one label set, and leave as (N, C). A model whose row
holds a NaN is missing there, as a voice is in silence: the rule is applied to those that are there,
and a row that nobody speaks of is NaN.

To add a rule, write it here and register it; `analysis.learned_rule` has those that were learned.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from emoscope.core.errors import SpecError
from emoscope.core.registry import Registry

__all__ = [
    "RULES",
    "Rule",
    "average",
    "check_weights",
    "highest_confidence",
    "product",
    "stacked",
    "weighted_average",
]

FloatArray = npt.NDArray[np.floating]
Probs = Mapping[str, FloatArray]  # {model: (N, C)}
Rule = Callable[..., FloatArray]  # (Probs) -> (N, C); `weighted_average` takes weights, too

RULES: Registry[Rule] = Registry("fusion rule")

_LEAST = 1e-6  # of a probability that is multiplied


@RULES.register("average")
def average(probs: Probs) -> FloatArray:
    """The mean of the models' probabilities."""
    return weighted_average(probs, dict.fromkeys(probs, 1.0))


@RULES.register("weighted-average")
def weighted_average(probs: Probs, weights: Mapping[str, float]) -> FloatArray:
    """The mean of the models' probabilities, each with a weight of its own.

    Weights are relative, and those of the models that are there are made to sum to 1 row by row. A
    weight of 0 leaves a model out: a row that has no other is NaN. Raises SpecError."""
    check_weights(probs, weights)
    said = stacked(probs)
    heard = _heard(said)
    shares = np.array([weights[name] for name in probs])[:, None] * heard  # (M, N)
    total = shares.sum(axis=0)
    known = np.where(heard[..., None], said, 0.0)
    summed = (shares[..., None] * known).sum(axis=0)
    fused = np.full_like(summed, np.nan)
    np.divide(summed, total[:, None], out=fused, where=total[:, None] > 0)
    return fused


@RULES.register("product")
def product(probs: Probs) -> FloatArray:
    """The models' probabilities multiplied, and made to sum to 1 (Kittler et al., IEEE TPAMI 1998).

    It is what follows where models err independently and no class is likelier beforehand. None of
    the probabilities counts as less than 1e-6: one model alone cannot rule a class out."""
    said = stacked(probs)
    heard = _heard(said)
    logs = np.log(np.where(heard[..., None], said, 1.0).clip(min=_LEAST)).sum(axis=0)
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    fused = shares / shares.sum(axis=1, keepdims=True)
    fused[~heard.any(axis=0)] = np.nan
    return np.asarray(fused)


@RULES.register("highest-confidence")
def highest_confidence(probs: Probs) -> FloatArray:
    """The answer of the model whose largest probability is the largest; of equal ones the first."""
    said = stacked(probs)
    heard = _heard(said)
    confidence = np.where(heard, np.where(heard[..., None], said, 0.0).max(axis=2), -1.0)
    decides = confidence.argmax(axis=0)
    fused = said[decides, np.arange(said.shape[1])]
    fused[~heard.any(axis=0)] = np.nan
    return np.asarray(fused)


def stacked(probs: Probs) -> npt.NDArray[np.float64]:
    """(M, N, C). Raises SpecError for no model, and for shapes that differ."""
    if not probs:
        raise SpecError("A fusion needs the probabilities of one model at least, got none.")
    shapes = {name: np.shape(values) for name, values in probs.items()}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 2:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise SpecError(f"Models to fuse answer with (N, C), all alike, got {told}.")
    return np.stack([np.asarray(values, dtype=np.float64) for values in probs.values()])


def _heard(said: FloatArray) -> npt.NDArray[np.bool_]:
    """(M, N, C) -> (M, N): whose row is whole."""
    return np.asarray(~np.isnan(said).any(axis=2))


def check_weights(models: Mapping[str, object], weights: Mapping[str, float]) -> None:
    """Raises SpecError unless every model, and nobody else, has a weight of 0 or more, and one has
    more."""
    for name in models:
        if name not in weights:
            raise SpecError(f"A weighted average needs a weight for each model: {name} has none.")
    for name, weight in weights.items():
        if name not in models:
            raise SpecError(f"A weight for {name}, which is none of {', '.join(models)}.")
        if not 0 <= weight < math.inf:
            raise SpecError(f"The weight of {name} is 0 or more, got {weight}.")
    if models and not any(weights.values()):
        raise SpecError(f"The weights of {', '.join(models)} are all 0. Give one of them more.")
