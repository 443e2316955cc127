from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as reference  # type: ignore[import-untyped]

from emoscope.training.metrics import (
    accuracy,
    bootstrap_ci,
    confusion_matrix,
    ece,
    fit_temperature,
    macro_f1,
    mcnemar,
    uar,
)

IntArray = npt.NDArray[np.int64]


def answers(seed: int, count: int = 200, classes: int = 6) -> tuple[IntArray, IntArray]:
    """Uneven classes, some right answers."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, size=count, p=rng.dirichlet(np.ones(classes)))
    guess = rng.integers(0, classes, size=count)
    return truth, np.where(rng.random(count) < 0.5, truth, guess)


def sampled(logits: npt.NDArray[Any], temperature: float, seed: int = 0) -> IntArray:
    """Labels drawn from softmax(logits / temperature)."""
    noise = np.random.default_rng(seed).gumbel(size=logits.shape)
    return np.asarray((logits / temperature + noise).argmax(axis=1))


@pytest.mark.parametrize("seed", range(5))
def test_figures_agree_with_scikit_learn(seed: int) -> None:
    truth, said = answers(seed)
    assert accuracy(truth, said) == pytest.approx(reference.accuracy_score(truth, said))
    known = np.isin(said, truth)  # scikit-learn warns of answers that never were true
    truth, said = truth[known], said[known]
    assert uar(truth, said) == pytest.approx(reference.balanced_accuracy_score(truth, said))
    np.testing.assert_array_equal(
        confusion_matrix(truth, said, 6),
        reference.confusion_matrix(truth, said, labels=list(range(6))),
    )


def test_uar_by_hand_counts_only_classes_that_occur() -> None:
    truth, said = np.array([0, 0, 0, 0, 2]), np.array([0, 0, 0, 1, 1])
    assert uar(truth, said) == pytest.approx((3 / 4 + 0) / 2)
    assert accuracy(truth, said) == pytest.approx(3 / 5)


def test_rows_of_the_confusion_matrix_are_the_truth() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 2]), 3)
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(("truth", "said"), [([0], [3]), ([3], [0]), ([-1], [0])])
def test_a_class_outside_the_matrix_is_refused(truth: list[int], said: list[int]) -> None:
    with pytest.raises(ValueError, match=r"classes must be in 0\.\.2"):
        confusion_matrix(np.array(truth), np.array(said), 3)


def test_ece_by_hand() -> None:
    # Two bins are used: 3 answers at 0.8, of which 2 are right; 1 answer at 0.6, right.
    probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.6, 0.4]])
    truth = np.array([0, 1, 1, 0])
    expected = 3 / 4 * abs(0.8 - 2 / 3) + 1 / 4 * abs(0.6 - 1)
    assert ece(probs, truth, bins=10) == pytest.approx(expected)


def test_ece_does_not_let_bins_make_up_for_each_other() -> None:
    probs = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert ece(probs, np.array([1, 0]), bins=10) == pytest.approx((0.9 + 0.4) / 2)
    assert ece(probs, np.array([1, 0]), bins=1) == pytest.approx((0.9 - 0.4) / 2)


def test_perfect_certainty_that_is_right_has_no_error() -> None:
    assert ece(np.eye(4), np.arange(4)) == 0


def test_ece_of_honest_probabilities_is_small_and_of_boasts_large() -> None:
    logits = np.random.default_rng(0).normal(size=(20_000, 5)) * 2
    truth = sampled(logits, 1.0)

    def softmax(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)

    assert ece(softmax(logits), truth) < 0.02
    assert ece(softmax(logits * 4), truth) > 0.15


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(size=(20_000, 5)) * 4
    found = fit_temperature(logits, sampled(logits, temperature))
    assert found == pytest.approx(temperature, rel=0.05)


def test_the_temperature_is_where_the_loss_is_least() -> None:
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


def test_the_interval_holds_the_mean_and_narrows_with_more_samples() -> None:
    widths = []
    for count in (50, 800):
        right = np.arange(count) % 4 != 0
        low, high = bootstrap_ci(right)
        assert low < 0.75 < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.2)  # as the root of 16


def test_groups_that_agree_within_widen_the_interval() -> None:
    groups = np.repeat(np.arange(12), 20)
    right = groups % 3 != 0  # a subject is right always or never
    single = bootstrap_ci(right)
    whole = bootstrap_ci(right, groups)
    ratio = (whole[1] - whole[0]) / (single[1] - single[0])
    assert ratio == pytest.approx(np.sqrt(20), rel=0.25)


def test_groups_may_bear_any_names_in_any_order() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, size=120)
    right = rng.random(120) < 0.3 + ids / 18
    names = np.array([f"subject {i}" for i in range(9)])[ids]
    assert bootstrap_ci(right, names) == bootstrap_ci(right, ids)


def test_groups_count_by_their_size() -> None:
    groups = np.array([0] * 90 + [1] * 10)
    right = groups == 0
    low, high = bootstrap_ci(right, groups)
    assert (low, high) == (0.0, 1.0)
    means = bootstrap_ci(right, groups, level=0.02)
    assert means == pytest.approx((0.9, 0.9))  # the median draw: one of each, 90 of 100 right


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        low, high = bootstrap_ci(rng.random(80) < 0.6, draws=200, level=0.9, seed=seed)
        held += low <= 0.6 <= high
    assert 0.82 <= held / 200 <= 0.97


def test_a_seed_gives_the_same_interval() -> None:
    scores = np.random.default_rng(0).random(30)
    assert bootstrap_ci(scores, seed=1) == bootstrap_ci(scores, seed=1)
    assert bootstrap_ci(scores, seed=1) != bootstrap_ci(scores, seed=2)


@pytest.mark.parametrize("seed", range(4))
def test_macro_f1_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 5, 60), rng.integers(0, 5, 60)
    truth[truth == 3] = 2  # class 3 is predicted but never true
    assert macro_f1(truth, said) == pytest.approx(reference.f1_score(truth, said, average="macro"))


def test_mcnemar_by_hand() -> None:
    # One is right alone 8 times, the other twice: 2 * (1 + 10 + 45) / 1024.
    a = np.array([True] * 8 + [False] * 2 + [True] * 30 + [False] * 5)
    b = np.array([False] * 8 + [True] * 2 + [True] * 30 + [False] * 5)
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(112 / 1024)


def test_models_that_never_or_evenly_differ_are_not_told_apart() -> None:
    a = np.array([True, False, True, False])
    assert mcnemar(a, a) == 1.0
    assert mcnemar(a, ~a) == 1.0


def test_mcnemar_of_thousands_of_clips_does_not_overflow() -> None:
    a = np.arange(10_000) % 2 == 0
    assert mcnemar(a, ~a) == 1.0
    assert 0.0 <= mcnemar(np.ones(10_000, bool), np.arange(10_000) < 5_000) < 1e-300


def test_mcnemar_needs_the_same_clips() -> None:
    with pytest.raises(ValueError, match="same clips"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))
