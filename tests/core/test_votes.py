"""Votes, checked by hand and for arbitrary units."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.core.errors import UnknownName
from emoscope.core.votes import (
    DEFAULT_VOTE,
    VOTES,
    expressive_weighted,
    max_probability,
    sum_probability,
)

NARROW_A, CERTAIN_B = (0.6, 0.3, 0.1), (0.0, 1.0, 0.0)
LABELS = ("anger", "neutral", "fear", "joy")  # the first ones are used


@st.composite
def some_units(draw: st.DrawFn) -> np.ndarray:
    """Draw probabilities (U, C) of few distinct values, so that ties are frequent."""
    classes = draw(st.integers(1, 4))
    counts = st.lists(st.integers(0, 3), min_size=classes, max_size=classes).filter(any)
    units = np.array(draw(st.lists(counts, min_size=1, max_size=8)), dtype=float)
    return units / units.sum(axis=1, keepdims=True)


def test_the_registry_holds_the_two_votes_of_the_paper_and_ours() -> None:
    assert list(VOTES) == ["sum-probability", "max-probability", "expressive-weighted"]
    assert DEFAULT_VOTE == "sum-probability"
    with pytest.raises(UnknownName, match=r"No vote named 'max-prob'\. Did you mean 'max-"):
        VOTES["max-prob"]


def test_two_narrow_units_against_one_certain_unit_by_hand() -> None:
    units = np.array([NARROW_A, NARROW_A, CERTAIN_B])
    assert sum_probability(units) == pytest.approx([1.2 / 3, 1.6 / 3, 0.2 / 3])
    assert max_probability(units) == pytest.approx([2 / 3, 1 / 3, 0])


def test_units_are_weighted() -> None:
    units, weights = np.array([NARROW_A, CERTAIN_B]), np.array([3.0, 1.0])
    assert sum_probability(units, weights) == pytest.approx([0.45, 0.475, 0.075])
    assert max_probability(units, weights) == pytest.approx([0.75, 0.25, 0])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_tie_goes_to_the_larger_sum_of_probabilities(order: tuple[int, int]) -> None:
    units = np.array([NARROW_A, CERTAIN_B])[list(order)]
    combined = max_probability(units)
    assert combined.argmax() == 1
    assert combined == pytest.approx([0.5, 0.5, 0], abs=1e-4)
    assert combined.sum() == pytest.approx(1)


def test_a_broken_tie_survives_rounding_to_few_digits() -> None:
    combined = max_probability(np.array([NARROW_A, CERTAIN_B]))
    assert np.float32(combined[1]) > np.float32(combined[0])
    assert f"{combined[1]:.6f}" > f"{combined[0]:.6f}"


def test_a_tie_is_broken_by_weighted_sums() -> None:
    """1.8 against 1.6; without the weights 1.3 against 1.4."""
    units = np.array([(0.5, 0.2, 0.3), (0.4, 0.6, 0.0), (0.4, 0.6, 0.0)])
    assert max_probability(units, np.array([2.0, 1.0, 1.0])).argmax() == 0


def test_weights_that_differ_by_rounding_tie() -> None:
    seconds = np.array([0.1 + 0.2, 0.3])
    assert seconds[0] != seconds[1]
    for order in ([0, 1], [1, 0]):
        units = np.array([NARROW_A, CERTAIN_B])
        assert max_probability(units, seconds[order]).argmax() == 1


def test_one_vote_of_twenty_thousand_decides() -> None:
    """Even if the other units are certain."""
    units = np.array([(0.51, 0.49)] * 10_001 + [(0.0, 1.0)] * 10_000)
    assert max_probability(units).argmax() == 0
    assert sum_probability(units).argmax() == 1


@pytest.mark.parametrize("name", list(VOTES))
@given(units=some_units())
def test_a_vote_is_a_distribution_independent_of_the_order_of_units(
    name: str, units: np.ndarray
) -> None:
    labels = LABELS[: units.shape[1]]
    combined = VOTES[name](units, labels=labels)
    assert combined.dtype == np.float64
    assert combined.shape == units.shape[1:]
    assert combined.min() >= 0
    assert combined.sum() == pytest.approx(1)
    np.testing.assert_allclose(VOTES[name](units[::-1], labels=labels), combined)


@pytest.mark.parametrize("name", list(VOTES))
@given(units=some_units(), data=st.data())
def test_a_weight_equals_repeated_units(name: str, units: np.ndarray, data: st.DataObject) -> None:
    size = len(units)
    times = data.draw(st.lists(st.integers(1, 3), min_size=size, max_size=size))
    labels = LABELS[: units.shape[1]]
    combined = VOTES[name](units, 0.04 * np.array(times), labels)
    each = VOTES[name](np.repeat(units, times, axis=0), labels=labels)
    np.testing.assert_allclose(combined, each, atol=1e-12)


@pytest.mark.parametrize("name", list(VOTES))
@given(units=some_units())
def test_a_single_unit_keeps_its_most_probable_class(name: str, units: np.ndarray) -> None:
    combined = VOTES[name](units[:1], labels=LABELS[: units.shape[1]])
    assert combined.argmax() == units[0].argmax()


@given(units=some_units())
def test_the_most_votes_win_and_then_the_larger_sum(units: np.ndarray) -> None:
    ballots = Counter(units.argmax(axis=1).tolist())
    most = max(ballots.values())
    sums = {label: units[:, label].sum() for label, count in ballots.items() if count == most}
    best = max(sums.values())
    winners = [label for label, total in sums.items() if total == pytest.approx(best)]
    assert max_probability(units).argmax() in winners


def test_a_neutral_unit_counts_a_sixth_by_hand() -> None:
    units = np.array([(0.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
    assert expressive_weighted(units, labels=("joy", "neutral")) == pytest.approx([0.75, 0.25])
    assert sum_probability(units).argmax() == 1


def test_weights_and_expressiveness_are_multiplied() -> None:
    units, seconds = np.array([(0.0, 1.0), (1.0, 0.0)]), np.array([4.0, 1.0])
    combined = expressive_weighted(units, seconds, ("joy", "neutral"))
    assert combined == pytest.approx([0.6, 0.4])


@given(units=some_units())
def test_units_that_are_all_mostly_neutral_stay_neutral(units: np.ndarray) -> None:
    shares = np.column_stack([np.ones(len(units)), units]) / 2
    labels = ("neutral", *"abcd"[: units.shape[1]])
    assert expressive_weighted(shares, labels=labels)[0] >= 0.5 - 1e-12


@given(units=some_units())
def test_without_a_neutral_label_it_is_the_sum_of_probabilities(units: np.ndarray) -> None:
    for labels in ((), ("anger", "fear", "joy", "sadness")[: units.shape[1]]):
        combined = expressive_weighted(units, labels=labels)
        np.testing.assert_array_equal(combined, sum_probability(units))


@given(units=some_units())
def test_equally_neutral_units_are_weighted_equally(units: np.ndarray) -> None:
    shares = np.column_stack([np.full(len(units), 0.4), 0.6 * units])
    labels = ("neutral", *"abcd"[: units.shape[1]])
    combined = expressive_weighted(shares, labels=labels)
    np.testing.assert_allclose(combined, sum_probability(shares), atol=1e-12)
