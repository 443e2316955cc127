"""Figures of merit, their intervals, and the difference of two models.

`truth` and `predicted` are (N,) class numbers. Intervals and p values resample whole `groups` (N,):
subjects, so that they speak of people not seen yet; without groups each sample stands for itself,
which holds only where no two are of one person, or of one clip predicted under several seeds.
Everything raises ValueError for no samples, lengths that differ, and NaN probabilities.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]

from emoscope.core.arrays import AnyArray, BoolArray, FloatArray, IntArray

__all__ = [
    "Difference",
    "accuracy",
    "bootstrap_ci",
    "by_group",
    "confusion_matrix",
    "coverage_curve",
    "ece",
    "fit_temperature",
    "macro_f1",
    "mcnemar",
    "paired_bootstrap",
    "per_class",
    "protocol_difference",
    "uar",
    "uar_ci",
]


_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def accuracy(truth: IntArray, predicted: IntArray) -> float:
    """Share of right answers (weighted average recall, WAR)."""
    truth, predicted = _alike(truth=truth, predicted=predicted)
    return float(np.mean(truth == predicted))


def uar(truth: IntArray, predicted: IntArray) -> float:
    """Unweighted average recall: the mean of the recalls of the classes that occur in `truth`."""
    truth, predicted = _alike(truth=truth, predicted=predicted)
    return float(np.mean([np.mean(predicted[truth == c] == c) for c in np.unique(truth)]))


def macro_f1(truth: IntArray, predicted: IntArray) -> float:
    """Mean F1 of the classes that occur in `truth` or in `predicted`, as scikit-learn's."""
    truth, predicted = _alike(truth=truth, predicted=predicted)
    return float(np.mean([_f1(truth == c, predicted == c) for c in np.union1d(truth, predicted)]))


def confusion_matrix(truth: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """(C, C) counts: row = truth, column = prediction. ValueError for an unknown class."""
    truth, predicted = _alike(truth=truth, predicted=predicted)
    for classes in (truth, predicted):
        if not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(f"classes must be in 0..{num_classes - 1}, got {np.unique(classes)}")
    cells = truth * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(
    truth: IntArray, predicted: IntArray, labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """{label: {"recall", "precision", "f1", "samples"}}, class c being labels[c].

    A class that never occurs has 0 samples and a recall of 0, one that is never predicted a
    precision of 0, as scikit-learn's with `zero_division=0`. `uar` leaves the former out.
    """
    matrix = confusion_matrix(truth, predicted, len(labels))
    right, samples, said = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    return {
        label: {
            "recall": float(right[c] / max(samples[c], 1)),
            "precision": float(right[c] / max(said[c], 1)),
            "f1": float(2 * right[c] / max(samples[c] + said[c], 1)),
            "samples": int(samples[c]),
        }
        for c, label in enumerate(labels)
    }


def by_group(
    truth: IntArray, predicted: IntArray, values: npt.ArrayLike
) -> dict[str, dict[str, float]]:
    """{value: {"samples", "accuracy", "uar"}} for a column of values (N,), such as gender."""
    truth, predicted, column = _alike(truth=truth, predicted=predicted, values=values)
    return {
        str(value): {
            "samples": int(np.sum(column == value)),
            "accuracy": accuracy(truth[column == value], predicted[column == value]),
            "uar": uar(truth[column == value], predicted[column == value]),
        }
        for value in np.unique(column)
    }


def ece(probs: FloatArray, truth: IntArray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017) of (N, C) probabilities: |confidence -
    accuracy|, averaged over equal bins of confidence, weighted by how many fall in each."""
    probs, truth = _rows(probs, truth)
    confidence = probs.max(axis=1)
    right = probs.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def coverage_curve(probs: FloatArray, truth: IntArray) -> list[dict[str, float | None]]:
    """What it gives to answer only where the highest of (N, C) probabilities reaches a threshold.

    -> [{"min_confidence", "answered": share of the samples, "accuracy" and "uar" of those}], from
    0.3 to 0.9; None where nothing is answered. The UAR is that of the classes that are left."""
    probs, truth = _rows(probs, truth)
    highest, said = probs.max(axis=1), probs.argmax(axis=1)
    curve: list[dict[str, float | None]] = []
    for least in _THRESHOLDS:
        told = highest >= least
        figures = {"accuracy": accuracy, "uar": uar}
        measured = {
            name: figure(truth[told], said[told]) if told.any() else None
            for name, figure in figures.items()
        }
        curve.append({"min_confidence": least, "answered": float(told.mean()), **measured})
    return curve


def fit_temperature(logits: FloatArray, truth: IntArray) -> float:
    """The T > 0 that minimises the cross-entropy of softmax(logits / T) (Guo et al., ICML 2017).

    (N, C) logits. The loss is convex in 1/T: a golden-section search over log T in [1/20, 20].
    """
    logits, truth = _rows(logits, truth)

    def loss(log_t: float) -> float:
        scaled = logits / np.exp(log_t)
        peak = scaled.max(axis=1, keepdims=True)
        log_sum = peak[:, 0] + np.log(np.exp(scaled - peak).sum(axis=1))
        return float(np.mean(log_sum - scaled[np.arange(len(truth)), truth]))

    low, high = -np.log(20.0), np.log(20.0)
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))


def mcnemar(right_a: BoolArray, right_b: BoolArray) -> float:
    """Two-sided p that two models err alike on the same (N,) clips (McNemar, 1947; exact).

    Only clips on which exactly one of them is right count: under the null each is as likely to be
    the one, so the smaller count is binomial with p = 1/2. 1 where the models never differ. Clips
    count as independent: `paired_bootstrap` does without that.
    """
    right_a, right_b = _alike(right_a=right_a, right_b=right_b)
    only_a, only_b = np.sum(right_a & ~right_b), np.sum(right_b & ~right_a)
    tail = stats.binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)
    return min(1.0, 2 * float(tail))


def bootstrap_ci(
    right: AnyArray,
    groups: AnyArray | None = None,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (low, high) of the mean of `right` (N,), true or false or shares in [0, 1].

    Expanded percentile bootstrap (Hesterberg, The American Statistician 2015): the plain percentile
    interval is too narrow for few subjects, so its tails are set by Student's t. Of a single group
    nothing follows about others: (0, 1).
    """
    (right,) = _alike(right=right)
    shares = right.astype(np.float64)
    if not np.all((shares >= 0) & (shares <= 1)):
        raise ValueError("right must be true, false, or shares in [0, 1]")
    table = _sums(np.column_stack([shares, np.ones(len(shares))]), groups)
    sums = _resample(table, draws, seed)
    return _interval(sums[:, 0] / sums[:, 1], len(table), level, (0.0, 1.0))


def uar_ci(
    truth: IntArray,
    predicted: IntArray,
    groups: AnyArray | None = None,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (low, high) of `uar`, as `bootstrap_ci`'s of accuracy; a class that a draw does not
    hold is left out of that draw's mean."""
    truth, predicted = _alike(truth=truth, predicted=predicted)
    classes = _one_hot(truth)
    table = _sums(np.hstack([classes * (truth == predicted)[:, None], classes]), groups)
    right, count = np.split(_resample(table, draws, seed), 2, axis=1)
    return _interval(_mean_recall(right, count), len(table), level, (0.0, 1.0))


@dataclass(frozen=True)
class Difference:
    """How much better b is than a: metric(b) - metric(a), its interval and a two-sided p."""

    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    truth: IntArray,
    predicted_a: IntArray,
    predicted_b: IntArray,
    groups: AnyArray | None = None,
    *,
    metric: Literal["accuracy", "uar"] = "accuracy",
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Two models on the same clips, b against a; each draw resamples both alike.

    The interval is made as `bootstrap_ci`'s; p is the level at which it begins to leave out 0, as
    far as so many draws can tell: never 0. Of a single group nothing follows: [-1, 1] and p = 1.
    """
    if metric not in ("accuracy", "uar"):
        raise ValueError(f"metric must be accuracy or uar, got {metric!r}")
    truth, a, b = _alike(truth=truth, predicted_a=predicted_a, predicted_b=predicted_b)
    classes = _one_hot(truth) if metric == "uar" else np.ones((len(truth), 1))
    right_a, right_b = (classes * (answers == truth)[:, None] for answers in (a, b))
    table = _sums(np.hstack([right_a, right_b, classes]), groups)
    drawn = _differences(_resample(table, draws, seed))
    low, high = _interval(drawn, len(table), level, (-1.0, 1.0))
    observed = _differences(table.sum(axis=0, keepdims=True))
    return Difference(float(observed[0]), low, high, _two_sided_p(drawn, len(table)))


def protocol_difference(
    right_a: AnyArray,
    groups_a: AnyArray,
    right_b: AnyArray,
    groups_b: AnyArray,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Accuracy by b less that by a, on clips of the same persons that need not be the same clips:
    two protocols over one corpus. Each draw resamples the persons of both alike; interval and p as
    of `paired_bootstrap`. Raises ValueError where the persons differ."""
    if set(np.unique(groups_a)) != set(np.unique(groups_b)):
        raise ValueError("groups_a and groups_b must hold the same persons")
    sides = []
    for right, groups in ((right_a, groups_a), (right_b, groups_b)):
        (right,) = _alike(right=right)
        sides.append(_sums(np.column_stack([right, np.ones(len(right))]), groups))
    table = np.hstack(sides)
    drawn, observed = (
        np.round(sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1], 12)
        for sums in (_resample(table, draws, seed), table.sum(axis=0, keepdims=True))
    )
    low, high = _interval(drawn, len(table), level, (-1.0, 1.0))
    return Difference(float(observed[0]), low, high, _two_sided_p(drawn, len(table)))


def _differences(sums: FloatArray) -> FloatArray:
    """(D, 3C) right of a, right of b, samples -> (D,) mean recall of b less that of a."""
    right_a, right_b, count = np.split(sums, 3, axis=1)
    # Rounded, so that recalls that add up to the same are equal.
    return np.round(_mean_recall(right_b, count) - _mean_recall(right_a, count), 12)


def _mean_recall(right: FloatArray, count: FloatArray) -> FloatArray:
    """(D, C) counts -> (D,): the mean over the classes that occur."""
    occurs = count > 0
    return (right / np.where(occurs, count, 1)).sum(axis=1) / occurs.sum(axis=1)


def _one_hot(truth: IntArray) -> FloatArray:
    """(N, classes that occur)."""
    return np.asarray(truth[:, None] == np.unique(truth), dtype=np.float64)


def _sums(columns: FloatArray, groups: AnyArray | None) -> FloatArray:
    """(N, K) summed within each group -> (G, K)."""
    if groups is None:
        return columns
    _, names = _alike(samples=columns[:, 0], groups=groups)
    ids = np.unique(names, return_inverse=True)[1]
    return np.stack([np.bincount(ids, weights=column) for column in columns.T], axis=1)


def _resample(table: FloatArray, draws: int, seed: int) -> FloatArray:
    """(G, K) -> (draws, K): sums over G rows drawn with replacement."""
    # Equal rows are drawn as one kind: thousands of single samples are a few kinds only.
    kinds, times = np.unique(table, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    step = max(1, 4_000_000 // len(kinds))  # bounds the memory where all rows differ
    parts = [
        rng.multinomial(len(table), times / len(table), size=min(step, draws - done)) @ kinds
        for done in range(0, draws, step)
    ]
    return np.concatenate(parts)


def _interval(
    drawn: FloatArray, units: int, level: float, everything: tuple[float, float]
) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    if units == 1:
        return everything
    t = stats.t.ppf((1 - level) / 2, units - 1)
    tail = float(stats.norm.cdf(t * math.sqrt(units / (units - 1))))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _two_sided_p(drawn: FloatArray, units: int) -> float:
    """The level at which `_interval` begins to leave out 0."""
    if units == 1:
        return 1.0
    fewer = min(int(np.sum(drawn <= 0)), int(np.sum(drawn >= 0)))
    z = stats.norm.ppf(min((1 + fewer) / (1 + len(drawn)), 1.0))
    return min(1.0, 2 * float(stats.t.cdf(z / math.sqrt(units / (units - 1)), units - 1)))


def _f1(true: BoolArray, said: BoolArray) -> float:
    return float(2 * np.sum(true & said) / (np.sum(true) + np.sum(said)))


def _alike(**columns: npt.ArrayLike) -> tuple[AnyArray, ...]:
    """The columns as arrays (N,) of one length, N >= 1."""
    arrays = tuple(np.asarray(column) for column in columns.values())
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(f"{', '.join(columns)}: one value a sample, got shapes {shapes}")
    if shapes[0] == (0,):
        raise ValueError(f"{', '.join(columns)}: no samples, nothing to measure")
    return arrays


def _rows(values: FloatArray, truth: IntArray) -> tuple[FloatArray, IntArray]:
    """(N, C) without NaN and (N,), N >= 1."""
    values, truth = np.asarray(values), np.asarray(truth)
    if values.ndim != 2 or values.shape[:1] != truth.shape:
        raise ValueError(f"a row of values a sample, got {values.shape} for {truth.shape}")
    if not len(truth):
        raise ValueError("no samples, nothing to measure")
    if np.isnan(values).any():
        bad = int(np.isnan(values).any(axis=1).sum())
        raise ValueError(f"{bad} of {len(values)} samples have NaN probabilities")
    return values, truth
