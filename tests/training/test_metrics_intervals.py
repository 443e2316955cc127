from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from emoscope.training.metrics import (
    accuracy,
    bootstrap_ci,
    mcnemar,
    paired_bootstrap,
    uar,
    uar_ci,
)

IntArray = npt.NDArray[np.int64]

METRICS: tuple[Literal["accuracy", "uar"], ...] = ("accuracy", "uar")


def uneven_subjects(subjects: int, each: int, seed: int = 0) -> tuple[IntArray, IntArray, IntArray]:
    """Truth, predictions and subjects: accuracy differs from subject to subject."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(subjects), each)
    truth = rng.integers(0, 4, size=len(ids))
    skill = 1 / (1 + np.exp(-0.3 - rng.normal(size=subjects)))
    return truth, np.where(rng.random(len(ids)) < skill[ids], truth, (truth + 1) % 4), ids


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


def test_group_names_and_their_order_do_not_matter() -> None:
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


def test_the_interval_covers_the_truth_at_its_level() -> None:
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


def test_mcnemar_by_hand() -> None:
    # One is right alone 8 times, the other twice: 2 * (1 + 10 + 45) / 1024.
    a = np.array([True] * 8 + [False] * 2 + [True] * 30 + [False] * 5)
    b = np.array([False] * 8 + [True] * 2 + [True] * 30 + [False] * 5)
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(112 / 1024)


def test_models_that_never_or_evenly_differ_have_p_1() -> None:
    a = np.array([True, False, True, False])
    assert mcnemar(a, a) == 1.0
    assert mcnemar(a, ~a) == 1.0


def test_mcnemar_of_thousands_of_clips_does_not_overflow() -> None:
    a = np.arange(10_000) % 2 == 0
    assert mcnemar(a, ~a) == 1.0
    assert 0.0 <= mcnemar(np.ones(10_000, bool), np.arange(10_000) < 5_000) < 1e-300


def test_mcnemar_needs_the_same_clips() -> None:
    with pytest.raises(ValueError, match="expected one value per sample"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))


def test_the_uar_interval_equals_that_of_accuracy_for_even_classes_of_equal_recall() -> None:
    truth = np.tile(np.arange(4), 100)
    predicted = np.where(np.arange(400) % 20 < 12, truth, (truth + 1) % 4)
    of_uar = uar_ci(truth, predicted, draws=4000)
    assert of_uar == pytest.approx(bootstrap_ci(truth == predicted, draws=4000), abs=0.006)


def test_the_uar_interval_agrees_with_a_plain_bootstrap() -> None:
    """Against draws one by one, with `uar` itself; of 150 subjects Student's t is a normal."""
    truth, predicted, ids = uneven_subjects(subjects=150, each=3)
    rng = np.random.default_rng(1)
    members = np.arange(450).reshape(150, 3)
    drawn = []
    for _ in range(1500):
        rows = members[rng.integers(0, 150, 150)].ravel()
        drawn.append(uar(truth[rows], predicted[rows]))
    plain = np.quantile(drawn, [0.025, 0.975])
    assert uar_ci(truth, predicted, ids) == pytest.approx(tuple(plain), abs=0.007)


def test_a_draw_without_a_rare_class_averages_over_the_others() -> None:
    truth, predicted = np.array([0] * 30 + [1]), np.array([0] * 31)
    low, high = uar_ci(truth, predicted)  # 1/2 with the rare one, 1 without
    assert (low, high) == (0.5, 1.0)


def test_subjects_who_differ_widen_every_interval() -> None:
    truth, predicted, ids = uneven_subjects(subjects=15, each=40)
    better = np.where(ids % 3 == 0, truth, predicted)

    def widths(groups: IntArray | None) -> npt.NDArray[Any]:
        differences = [
            paired_bootstrap(truth, predicted, better, groups, metric=m) for m in METRICS
        ]
        intervals = [(d.low, d.high) for d in differences]
        intervals += [uar_ci(truth, predicted, groups), bootstrap_ci(truth == predicted, groups)]
        return np.diff(intervals, axis=1)

    assert np.all(widths(ids) > 1.5 * widths(None))


def test_the_interval_covers_the_truth_at_its_level_with_ten_subjects() -> None:
    """The plain percentile interval covers about 91 % here, over samples far less."""
    skills = 1 / (1 + np.exp(-0.3 - np.random.default_rng(0).normal(size=100_000)))
    held, over_samples = 0, 0
    for seed in range(400):
        truth, predicted, ids = uneven_subjects(subjects=10, each=15, seed=seed)
        low, high = bootstrap_ci(truth == predicted, ids, draws=400)
        held += low <= skills.mean() <= high
        low, high = bootstrap_ci(truth == predicted, draws=400)
        over_samples += low <= skills.mean() <= high
    assert 0.925 <= held / 400 <= 0.98
    assert over_samples / 400 < 0.8


def test_a_single_subject_gives_the_widest_interval() -> None:
    truth, predicted, _ = uneven_subjects(subjects=1, each=50)
    one = np.zeros(50, dtype=int)
    assert bootstrap_ci(truth == predicted, one) == uar_ci(truth, predicted, one) == (0, 1)
    result = paired_bootstrap(truth, predicted, truth, one)
    assert result.difference > 0
    assert (result.low, result.high, result.p) == (-1, 1, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_is_b_minus_a(metric: Literal["accuracy", "uar"]) -> None:
    truth, predicted, ids = uneven_subjects(subjects=20, each=15)
    better = np.where(np.arange(300) % 4 == 0, truth, predicted)
    result = paired_bootstrap(truth, predicted, better, ids, metric=metric)
    figure = {"accuracy": accuracy, "uar": uar}[metric]
    assert result.difference == pytest.approx(figure(truth, better) - figure(truth, predicted))
    assert 0 < result.low < result.difference < result.high
    assert 0 < result.p < 0.01
    back = paired_bootstrap(truth, better, predicted, ids, metric=metric)
    assert (back.difference, back.p) == (-result.difference, result.p)
    assert (back.low, back.high) == pytest.approx((-result.high, -result.low), abs=0.005)


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_does_not_differ_from_itself(metric: Literal["accuracy", "uar"]) -> None:
    truth, predicted, ids = uneven_subjects(subjects=8, each=10)
    result = paired_bootstrap(truth, predicted, predicted, ids, metric=metric)
    assert (result.difference, result.low, result.high, result.p) == (0, 0, 0, 1)


def test_recalls_with_equal_sums_do_not_differ() -> None:
    truth = np.repeat(np.arange(3), 10)
    a, b = np.full(30, -1), np.full(30, -1)
    a[[0, 10, 11]] = truth[[0, 10, 11]]  # 0.1 + 0.2 + 0.0
    b[[0, 1, 2]] = truth[[0, 1, 2]]  # 0.3 + 0.0 + 0.0
    assert paired_bootstrap(truth, a, b, metric="uar").difference == 0


def test_accuracy_and_uar_may_disagree_on_which_model_is_better() -> None:
    truth = np.array([0] * 80 + [1] * 20)
    often, evenly = np.zeros(100, int), np.where(np.arange(100) % 10 < 7, truth, 1 - truth)
    assert paired_bootstrap(truth, often, evenly).difference == pytest.approx(-0.1)
    assert paired_bootstrap(truth, often, evenly, metric="uar").difference == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(30))
def test_p_and_interval_agree(seed: int) -> None:
    truth, a, ids = uneven_subjects(subjects=12, each=10, seed=seed)
    shifted = np.random.default_rng(seed).random(120) < 0.08
    result = paired_bootstrap(truth, a, np.where(shifted, truth, a), ids, level=0.9, seed=seed)
    if abs(result.p - 0.1) > 0.01:
        assert (result.p < 0.1) == (result.low > 0 or result.high < 0)


def test_the_false_positive_rate_matches_p_while_mcnemars_is_too_high() -> None:
    """Two equally good models, each better on other subjects."""
    alarms = mcnemar_alarms = 0
    for seed in range(200):
        truth, a, ids = uneven_subjects(subjects=12, each=20, seed=seed)
        other_truth, other, _ = uneven_subjects(subjects=12, each=20, seed=1000 + seed)
        b = np.where(other == other_truth, truth, (truth + 1) % 4)
        alarms += paired_bootstrap(truth, a, b, ids, draws=400).p < 0.05
        mcnemar_alarms += mcnemar(a == truth, b == truth) < 0.05
    assert alarms / 200 < 0.09
    assert mcnemar_alarms / 200 > 0.2


def test_thousands_of_clips_are_resampled_quickly() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 8, 30_000)
    predicted = np.where(rng.random(30_000) < 0.8, truth, 0)
    low, high = uar_ci(truth, predicted)
    assert low < uar(truth, predicted) < high
    assert high - low < 0.02


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"right": [0.5, 2.0]}, r"shares in \[0, 1\]"),
        ({"right": [0.5, float("nan")]}, r"shares in \[0, 1\]"),
        ({"right": [0.5, 1.0], "level": 95}, "level must be between 0 and 1, got 95"),
    ],
)
def test_invalid_settings_of_an_interval_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        bootstrap_ci(**settings)


def test_an_unknown_metric_is_refused() -> None:
    truth, predicted, ids = uneven_subjects(subjects=2, each=2)
    with pytest.raises(ValueError, match="accuracy or uar, got 'f1'"):
        paired_bootstrap(truth, predicted, predicted, ids, metric="f1")  # type: ignore[arg-type]
