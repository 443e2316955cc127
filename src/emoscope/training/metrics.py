"""Figures of merit over (N, C) probabilities and (N,) true labels."""

import math

import numpy as np
import numpy.typing as npt

__all__ = [
    "accuracy",
    "bootstrap_ci",
    "confusion_matrix",
    "ece",
    "fit_temperature",
    "macro_f1",
    "mcnemar",
    "uar",
]

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


def accuracy(truth: IntArray, predicted: IntArray) -> float:
    """Share of right answers (weighted average recall, WAR)."""
    return float(np.mean(np.asarray(truth) == np.asarray(predicted)))


def confusion_matrix(truth: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """(C, C) counts: row = truth, column = prediction. Raises ValueError for an unknown class."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    for classes in (truth, predicted):
        if len(classes) and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(f"classes must be in 0..{num_classes - 1}, got {np.unique(classes)}")
    cells = truth * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def uar(truth: IntArray, predicted: IntArray) -> float:
    """Unweighted average recall: the mean of the recalls of the classes that occur in `truth`."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    return float(np.mean([np.mean(predicted[truth == c] == c) for c in np.unique(truth)]))


def macro_f1(truth: IntArray, predicted: IntArray) -> float:
    """Mean F1 of the classes that occur in `truth` or in `predicted`, as scikit-learn's."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    scores = []
    for c in np.union1d(truth, predicted):
        right = np.sum((truth == c) & (predicted == c))
        scores.append(2 * right / (np.sum(truth == c) + np.sum(predicted == c)))
    return float(np.mean(scores))


def mcnemar(right_a: npt.NDArray[np.bool_], right_b: npt.NDArray[np.bool_]) -> float:
    """Two-sided p that two models err alike on the same (N,) clips (McNemar, 1947; exact).

    Only clips on which exactly one of them is right count: under the null each is as likely to be
    the one, so the smaller count is binomial with p = 1/2. 1 where the models never differ.
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"two models on the same clips, got {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    differ, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(differ, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**differ)


def ece(probs: FloatArray, truth: IntArray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017): |confidence - accuracy|, averaged over
    equal bins of confidence, weighted by how many fall in each."""
    confidence = probs.max(axis=1)
    right = probs.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def fit_temperature(logits: FloatArray, truth: IntArray) -> float:
    """The T > 0 that minimises the cross-entropy of softmax(logits / T) (Guo et al., ICML 2017).

    The loss is convex in 1/T: a golden-section search over log T in [1/20, 20].
    """

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


def bootstrap_ci(
    right: npt.NDArray[np.generic],
    groups: npt.NDArray[np.generic] | None = None,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the mean of `right` (N,), resampling whole groups (subjects) where
    they are given, single samples otherwise."""
    right = np.asarray(right, dtype=np.float64)
    ids = np.arange(len(right)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(ids, weights=right), np.bincount(ids)
    rng = np.random.default_rng(seed)
    # One draw at a time: all of them at once would fill gigabytes for some 30,000 samples.
    picks = (rng.integers(0, len(sums), size=len(sums)) for _ in range(draws))
    means = [sums[pick].sum() / counts[pick].sum() for pick in picks]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
