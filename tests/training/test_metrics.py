import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn import metrics as reference
from torchmetrics.functional.classification import multiclass_calibration_error

from emoscope.training import metrics
from emoscope.training.metrics import (
    accuracy,
    bootstrap_ci,
    by_group,
    confusion_matrix,
    coverage_curve,
    ece,
    fit_temperature,
    macro_f1,
    mcnemar,
    paired_bootstrap,
    per_class,
    uar,
    uar_ci,
)

IntArray = npt.NDArray[np.int64]


def example(seed: int, count: int = 200, classes: int = 6) -> tuple[IntArray, IntArray]:
    """Uneven classes, partly correct predictions."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, size=count, p=rng.dirichlet(np.ones(classes)))
    guess = rng.integers(0, classes, size=count)
    return truth, np.where(rng.random(count) < 0.5, truth, guess)


def sampled(logits: npt.NDArray[Any], temperature: float, seed: int = 0) -> IntArray:
    """Labels drawn from softmax(logits / temperature)."""
    noise = np.random.default_rng(seed).gumbel(size=logits.shape)
    return np.asarray((logits / temperature + noise).argmax(axis=1))


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_uar_agree_with_scikit_learn(seed: int) -> None:
    truth, predicted = example(seed)
    assert accuracy(truth, predicted) == pytest.approx(reference.accuracy_score(truth, predicted))
    known = np.isin(predicted, truth)  # scikit-learn warns of predicted classes that are never true
    truth, predicted = truth[known], predicted[known]
    assert uar(truth, predicted) == pytest.approx(
        reference.balanced_accuracy_score(truth, predicted)
    )
    np.testing.assert_array_equal(
        confusion_matrix(truth, predicted, 6),
        reference.confusion_matrix(truth, predicted, labels=list(range(6))),
    )


def test_uar_by_hand_counts_only_classes_that_occur() -> None:
    truth, predicted = np.array([0, 0, 0, 0, 2]), np.array([0, 0, 0, 1, 1])
    assert uar(truth, predicted) == pytest.approx((3 / 4 + 0) / 2)
    assert accuracy(truth, predicted) == pytest.approx(3 / 5)


def test_rows_of_the_confusion_matrix_are_the_truth() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 2]), 3)
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(("truth", "predicted"), [([0], [3]), ([3], [0]), ([-1], [0])])
def test_a_class_outside_the_matrix_is_refused(truth: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"classes must be in 0\.\.2"):
        confusion_matrix(np.array(truth), np.array(predicted), 3)


def test_ece_by_hand() -> None:
    # Two bins are used: 3 predictions at 0.8, of which 2 are right; 1 at 0.6, right.
    probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.6, 0.4]])
    truth = np.array([0, 1, 1, 0])
    expected = 3 / 4 * abs(0.8 - 2 / 3) + 1 / 4 * abs(0.6 - 1)
    assert ece(probs, truth, bins=10) == pytest.approx(expected)


@pytest.mark.parametrize("bins", [10, 15])
def test_ece_agrees_with_torchmetrics(bins: int) -> None:
    probs = np.random.default_rng(0).dirichlet(np.full(6, 0.4), size=500)
    truth = np.random.default_rng(1).integers(0, 6, 500)
    known = multiclass_calibration_error(
        torch.from_numpy(probs), torch.from_numpy(truth), num_classes=6, n_bins=bins, norm="l1"
    )
    assert ece(probs, truth, bins) == pytest.approx(float(known), abs=1e-6)


def test_errors_of_different_bins_do_not_cancel() -> None:
    probs = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert ece(probs, np.array([1, 0]), bins=10) == pytest.approx((0.9 + 0.4) / 2)
    assert ece(probs, np.array([1, 0]), bins=1) == pytest.approx((0.9 - 0.4) / 2)


def test_correct_predictions_at_full_confidence_have_no_calibration_error() -> None:
    assert ece(np.eye(4), np.arange(4)) == 0


def test_ece_is_small_for_calibrated_and_large_for_overconfident_probabilities() -> None:
    logits = np.random.default_rng(0).normal(size=(20_000, 5)) * 2
    truth = sampled(logits, 1.0)

    def softmax(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)

    assert ece(softmax(logits), truth) < 0.02
    assert ece(softmax(logits * 4), truth) > 0.15


def test_a_coverage_curve_by_hand() -> None:
    probs = np.array([[0.95, 0.05, 0], [0.75, 0.25, 0], [0.1, 0.75, 0.15], [0.45, 0.35, 0.2]])
    curve = coverage_curve(probs, np.array([0, 1, 1, 2]))
    assert [line["min_confidence"] for line in curve] == [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert [line["answered"] for line in curve] == [1, 1, 0.75, 0.75, 0.75, 0.25, 0.25]
    assert curve[0]["accuracy"] == 2 / 4
    assert curve[0]["uar"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert curve[2]["accuracy"] == pytest.approx(2 / 3)
    assert curve[2]["uar"] == pytest.approx(
        (1 + 1 / 2) / 2
    )  # the third class is below the threshold
    assert curve[-1] == {"min_confidence": 0.9, "answered": 0.25, "accuracy": 1, "uar": 1}


def test_a_confidence_equal_to_the_threshold_counts_as_answered() -> None:
    assert coverage_curve(np.array([[0.5, 0.5]]), np.array([0]))[2]["answered"] == 1


def test_a_threshold_that_no_sample_reaches_has_no_metrics() -> None:
    curve = coverage_curve(np.array([[0.35, 0.33, 0.32]]), np.array([0]))
    expected = {"min_confidence": 0.4, "answered": 0, "accuracy": None, "uar": None}
    assert curve[1] == expected


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(size=(20_000, 5)) * 4
    result = fit_temperature(logits, sampled(logits, temperature))
    assert result == pytest.approx(temperature, rel=0.05)


def test_the_temperature_minimises_the_loss() -> None:
    logits = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32) * 30
    truth = sampled(logits, 9.0)

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        chances = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
        return float(-np.log(chances[np.arange(300), truth]).mean())

    best = fit_temperature(logits, truth)
    assert loss(best) < min(loss(best * 1.05), loss(best / 1.05))


def test_temperature_of_huge_logits_does_not_overflow() -> None:
    logits = np.array([[1e4, 0.0], [0.0, 1e4], [1e4, 0.0]])
    assert fit_temperature(logits, np.array([0, 1, 1])) == pytest.approx(20, rel=1e-3)


def test_macro_f1_by_hand_counts_classes_that_are_true_or_predicted() -> None:
    truth, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 3, 1, 0])
    # F1 of class 0: precision 2/3, recall 2/3; of 1: precision 1, recall 1/2; of 3: 0.
    assert macro_f1(truth, predicted) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_per_class_metrics_by_hand() -> None:
    truth, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 2, 1, 0])
    scores = per_class(truth, predicted, ["a", "b", "never true", "never at all"])
    assert scores == {
        "a": {
            "recall": pytest.approx(2 / 3),
            "precision": pytest.approx(2 / 3),
            "f1": pytest.approx(2 / 3),
            "samples": 3,
        },
        "b": {"recall": 0.5, "precision": 1.0, "f1": pytest.approx(2 / 3), "samples": 2},
        "never true": {"recall": 0, "precision": 0, "f1": 0, "samples": 0},
        "never at all": {"recall": 0, "precision": 0, "f1": 0, "samples": 0},
    }


def test_a_group_is_evaluated_on_its_own_samples() -> None:
    truth, predicted = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 1, 1, 1, 1, 1])
    sex = ["female", "male", "female", "female", "male", "male"]
    assert by_group(truth, predicted, sex) == {
        "female": {"samples": 3, "accuracy": 1.0, "uar": 1.0},
        "male": {"samples": 3, "accuracy": pytest.approx(1 / 3), "uar": 0.5},
    }


EMPTY = np.zeros(0, dtype=int)
ONE, TWO = np.zeros(1, dtype=int), np.zeros(2, dtype=int)


@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: accuracy(a, b),
        lambda a, b: uar(a, b),
        lambda a, b: macro_f1(a, b),
        lambda a, b: confusion_matrix(a, b, 3),
        lambda a, b: per_class(a, b, ["x", "y"]),
        lambda a, b: by_group(a, b, b),
        lambda a, b: uar_ci(a, b),
        lambda a, b: paired_bootstrap(a, a, b),
        lambda a, b: mcnemar(a == 0, b == 0),
        lambda a, b: bootstrap_ci(a == 0, b if len(b) else None),
        lambda a, b: uar_ci(a, a, b),
        lambda a, b: ece(np.full((len(a), 2), 0.5), b),
        lambda a, b: coverage_curve(np.full((len(a), 2), 0.5), b),
        lambda a, b: fit_temperature(np.zeros((len(a), 2)), b),
    ],
)
def test_empty_and_unequal_inputs_are_refused_in_one_line(call: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=r"^.*no samples$"):
        call(EMPTY, EMPTY)
    with pytest.raises(ValueError, match=r"^.*got .*(2,).*$") as raised:
        call(TWO, ONE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("figure", [ece, coverage_curve, fit_temperature])
def test_nan_probabilities_are_refused_and_counted(figure: Callable[..., object]) -> None:
    probs = np.array([[0.5, 0.5], [np.nan, np.nan], [np.nan, 1.0]])
    with pytest.raises(ValueError, match=r"^2 of 3 samples have NaN"):
        figure(probs, np.zeros(3, int))


def test_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(metrics).attempted > 20
    assert doctest.testmod(metrics).failed == 0
