"""Evaluation metrics, their confidence intervals, and tests of the difference of two models.

`truth` and `predicted` are (N,) class indices. Intervals and p-values resample whole `groups` (N,),
which should be subjects: then they hold for people who are not in the data. Without groups every
sample is resampled on its own, which is right only if no two samples are of one person, or of one
clip predicted under several seeds. All functions raise ValueError for empty input, for lengths that
differ, and for NaN probabilities.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]
from sklearn import metrics as sklearn_metrics

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
    """Share of correct predictions, also called weighted average recall (WAR).

    >>> import numpy as np
    >>> from emoscope.training.metrics import accuracy
    >>> accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    0.75
    """
    truth, predicted = _columns(truth=truth, predicted=predicted)
    return float(np.mean(truth == predicted))


def uar(truth: IntArray, predicted: IntArray) -> float:
    """Unweighted average recall: the mean recall of the classes that occur in `truth`.

    >>> import numpy as np
    >>> from emoscope.training.metrics import uar
    >>> uar(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1]))
    0.875
    """
    truth, predicted = _columns(truth=truth, predicted=predicted)
    return float(np.mean([np.mean(predicted[truth == c] == c) for c in np.unique(truth)]))


def macro_f1(truth: IntArray, predicted: IntArray) -> float:
    """Mean F1 score of the classes that occur in `truth` or in `predicted`.

    >>> import numpy as np
    >>> from emoscope.training.metrics import macro_f1
    >>> round(macro_f1(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])), 3)
    0.733
    """
    truth, predicted = _columns(truth=truth, predicted=predicted)
    return float(sklearn_metrics.f1_score(truth, predicted, average="macro", zero_division=0))


def confusion_matrix(truth: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """(C, C) counts: rows are the truth, columns the prediction. ValueError for an unknown class.

    >>> import numpy as np
    >>> from emoscope.training.metrics import confusion_matrix
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), num_classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    truth, predicted = _columns(truth=truth, predicted=predicted)
    for classes in (truth, predicted):
        if not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(f"classes must be in 0..{num_classes - 1}, got {np.unique(classes)}")
    return sklearn_metrics.confusion_matrix(truth, predicted, labels=np.arange(num_classes))


def per_class(
    truth: IntArray, predicted: IntArray, labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """{label: {"recall", "precision", "f1", "samples"}}; class c is labels[c].

    A class without samples has a recall of 0, a class that is never predicted a precision of 0.
    `uar` ignores classes without samples.
    """
    truth, predicted = _columns(truth=truth, predicted=predicted)
    scores = sklearn_metrics.precision_recall_fscore_support(
        truth, predicted, labels=np.arange(len(labels)), zero_division=0
    )
    return {
        label: {
            "recall": float(recall),
            "precision": float(precision),
            "f1": float(f1),
            "samples": int(samples),
        }
        for label, precision, recall, f1, samples in zip(labels, *scores, strict=True)
    }


def by_group(
    truth: IntArray, predicted: IntArray, values: npt.ArrayLike
) -> dict[str, dict[str, float]]:
    """{value: {"samples", "accuracy", "uar"}} for a column of values (N,), such as gender."""
    truth, predicted, column = _columns(truth=truth, predicted=predicted, values=values)
    return {
        str(value): {
            "samples": int(np.sum(column == value)),
            "accuracy": accuracy(truth[column == value], predicted[column == value]),
            "uar": uar(truth[column == value], predicted[column == value]),
        }
        for value in np.unique(column)
    }


def ece(probs: FloatArray, truth: IntArray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017) of (N, C) probabilities.

    |confidence - accuracy| in equal bins of confidence, averaged with the bins' sizes as weights.

    >>> import numpy as np
    >>> from emoscope.training.metrics import ece
    >>> round(ece(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 3)
    0.3
    """
    probs, truth = _rows(probs, truth)
    confidence = probs.max(axis=1)
    is_right = probs.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=confidence - is_right, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def coverage_curve(probs: FloatArray, truth: IntArray) -> list[dict[str, float | None]]:
    """Accuracy and coverage at confidence thresholds from 0.3 to 0.9.

    (N, C) probabilities -> [{"min_confidence", "answered", "accuracy", "uar"}]. "answered" is the
    share of samples whose highest probability reaches the threshold; accuracy and UAR are those of
    these samples and their classes, None if there are none."""
    probs, truth = _rows(probs, truth)
    confidence, predicted = probs.max(axis=1), probs.argmax(axis=1)
    curve: list[dict[str, float | None]] = []
    for threshold in _THRESHOLDS:
        kept = confidence >= threshold
        point: dict[str, float | None] = {
            "min_confidence": threshold,
            "answered": float(kept.mean()),
            "accuracy": accuracy(truth[kept], predicted[kept]) if kept.any() else None,
            "uar": uar(truth[kept], predicted[kept]) if kept.any() else None,
        }
        curve.append(point)
    return curve


def fit_temperature(logits: FloatArray, truth: IntArray) -> float:
    """Temperature T > 0 that minimises the cross-entropy of softmax(logits / T) (Guo et al., 2017).

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
    """Exact two-sided p-value of McNemar's test (1947) for two models on the same (N,) clips.

    Only clips on which exactly one model is right count; if the models are equally good, the
    smaller count is binomial with p = 1/2. The p-value is 1 if the models never differ. Clips are
    taken as independent; `paired_bootstrap` does not need that.

    >>> import numpy as np
    >>> from emoscope.training.metrics import mcnemar
    >>> mcnemar(np.array([True] * 6), np.array([False] * 5 + [True]))
    0.0625
    """
    right_a, right_b = _columns(right_a=right_a, right_b=right_b)
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
    """Confidence interval (low, high) of the mean of `right` (N,): booleans, or shares in [0, 1].

    Expanded percentile bootstrap (Hesterberg, The American Statistician 2015): the plain percentile
    interval is too narrow for few subjects, so its tails are set by Student's t. A single group
    says nothing about others: (0, 1).

    >>> import numpy as np
    >>> from emoscope.training.metrics import bootstrap_ci
    >>> right = np.array([True, True, False, True, False, True])
    >>> low, high = bootstrap_ci(right, groups=np.array(["a", "a", "b", "b", "c", "c"]))
    >>> bool(low < right.mean() < high)
    True
    """
    (right,) = _columns(right=right)
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
    """Confidence interval (low, high) of `uar`, computed as in `bootstrap_ci`.

    A draw without samples of a class averages over the other classes."""
    truth, predicted = _columns(truth=truth, predicted=predicted)
    classes = _one_hot(truth)
    table = _sums(np.hstack([classes * (truth == predicted)[:, None], classes]), groups)
    right, count = np.split(_resample(table, draws, seed), 2, axis=1)
    return _interval(_mean_recall(right, count), len(table), level, (0.0, 1.0))


@dataclass(frozen=True)
class Difference:
    """metric(b) - metric(a), its confidence interval, and a two-sided p-value."""

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
    """Test whether model b is better than model a on the same clips.

    Each draw resamples both models alike. The interval is computed as in `bootstrap_ci`; p is the
    level at which it starts to exclude 0, to the resolution of the draws: never 0. A single group
    gives [-1, 1] and p = 1.
    """
    if metric not in ("accuracy", "uar"):
        raise ValueError(f"metric must be accuracy or uar, got {metric!r}")
    truth, a, b = _columns(truth=truth, predicted_a=predicted_a, predicted_b=predicted_b)
    classes = _one_hot(truth) if metric == "uar" else np.ones((len(truth), 1))
    right_a, right_b = (classes * (predicted == truth)[:, None] for predicted in (a, b))
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
    """Accuracy under protocol b minus accuracy under protocol a, on clips of the same people.

    The clips need not be the same. Each draw resamples the people of both alike; interval and p as
    in `paired_bootstrap`. Raises ValueError if the people differ."""
    if set(np.unique(groups_a)) != set(np.unique(groups_b)):
        raise ValueError("groups_a and groups_b must hold the same people")
    sides = []
    for right, groups in ((right_a, groups_a), (right_b, groups_b)):
        (right,) = _columns(right=right)
        sides.append(_sums(np.column_stack([right, np.ones(len(right))]), groups))
    table = np.hstack(sides)
    drawn, observed = (
        np.round(sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1], 12)
        for sums in (_resample(table, draws, seed), table.sum(axis=0, keepdims=True))
    )
    low, high = _interval(drawn, len(table), level, (-1.0, 1.0))
    return Difference(float(observed[0]), low, high, _two_sided_p(drawn, len(table)))


def _differences(sums: FloatArray) -> FloatArray:
    """(D, 3C) correct by a, correct by b, samples -> (D,) mean recall of b minus that of a."""
    right_a, right_b, count = np.split(sums, 3, axis=1)
    # Rounded, so that equal sums of recalls compare as equal.
    return np.round(_mean_recall(right_b, count) - _mean_recall(right_a, count), 12)


def _mean_recall(right: FloatArray, count: FloatArray) -> FloatArray:
    """(D, C) counts -> (D,) mean over the classes that occur."""
    occurs = count > 0
    return (right / np.where(occurs, count, 1)).sum(axis=1) / occurs.sum(axis=1)


def _one_hot(truth: IntArray) -> FloatArray:
    """(N, number of classes that occur)."""
    return np.asarray(truth[:, None] == np.unique(truth), dtype=np.float64)


def _sums(columns: FloatArray, groups: AnyArray | None) -> FloatArray:
    """(N, K) summed within each group -> (G, K)."""
    if groups is None:
        return columns
    _, names = _columns(samples=columns[:, 0], groups=groups)
    ids = np.unique(names, return_inverse=True)[1]
    return np.stack([np.bincount(ids, weights=column) for column in columns.T], axis=1)


def _resample(table: FloatArray, draws: int, seed: int) -> FloatArray:
    """(G, K) -> (draws, K): sums over G rows drawn with replacement."""
    # Equal rows are counted together: thousands of single samples have few different rows.
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
    """Expanded percentile interval of drawn values; `everything` for a single unit."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    if units == 1:
        return everything
    t = stats.t.ppf((1 - level) / 2, units - 1)
    tail = float(stats.norm.cdf(t * math.sqrt(units / (units - 1))))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _two_sided_p(drawn: FloatArray, units: int) -> float:
    """Level at which `_interval` starts to exclude 0."""
    if units == 1:
        return 1.0
    fewer = min(int(np.sum(drawn <= 0)), int(np.sum(drawn >= 0)))
    z = stats.norm.ppf(min((1 + fewer) / (1 + len(drawn)), 1.0))
    return min(1.0, 2 * float(stats.t.cdf(z / math.sqrt(units / (units - 1)), units - 1)))


def _columns(**columns: npt.ArrayLike) -> tuple[AnyArray, ...]:
    """Return the columns as arrays (N,) of one length, N >= 1."""
    arrays = tuple(np.asarray(column) for column in columns.values())
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(
            f"{', '.join(columns)}: expected one value per sample, got shapes {shapes}"
        )
    if shapes[0] == (0,):
        raise ValueError(f"{', '.join(columns)}: no samples")
    return arrays


def _rows(values: FloatArray, truth: IntArray) -> tuple[FloatArray, IntArray]:
    """Return (N, C) without NaN and (N,), N >= 1."""
    values, truth = np.asarray(values), np.asarray(truth)
    if values.ndim != 2 or values.shape[:1] != truth.shape:
        raise ValueError(
            f"expected one row per sample, got shapes {values.shape} and {truth.shape}"
        )
    if not len(truth):
        raise ValueError("no samples")
    if np.isnan(values).any():
        bad = int(np.isnan(values).any(axis=1).sum())
        raise ValueError(f"{bad} of {len(values)} samples have NaN probabilities")
    return values, truth
