import numpy as np
import pytest

from emoscope.core.errors import SpecError, UnknownName
from emoscope.core.labels import LABEL_SETS, canonical, map_probs

FERPLUS = LABEL_SETS["ferplus8"].labels
BASIC7 = LABEL_SETS["basic7"].labels


@pytest.mark.parametrize("name", list(LABEL_SETS))
def test_every_set_holds_distinct_canonical_labels(name: str) -> None:
    labels = LABEL_SETS[name].labels
    assert len(set(labels)) == len(labels) == len(LABEL_SETS[name])
    assert [canonical(label) for label in labels] == list(labels)


@pytest.mark.parametrize(
    ("name", "count"),
    [("basic6", 6), ("basic7", 7), ("ckplus8", 8), ("ferplus8", 8), ("gemep17", 17)],
)
def test_a_set_has_the_number_of_labels_in_its_name(name: str, count: int) -> None:
    assert len(LABEL_SETS[name]) == count


def test_label_orders_match_the_corpora_on_disk() -> None:
    assert FERPLUS[0] == "neutral"  # first vote column
    assert FERPLUS[-1] == "contempt"
    assert LABEL_SETS["ckplus8"].index("surprise") == 7  # *_emotion.txt
    assert LABEL_SETS["ravdess8"].index("calm") == 1  # third field of the file name, minus 1
    assert LABEL_SETS["fer2013"].index("neutral") == 6  # fer2013.csv


@pytest.mark.parametrize("spelling", ["happiness", "Happy", " HAPPY ", "happy"])
def test_any_known_spelling_has_its_column(spelling: str) -> None:
    assert FERPLUS[LABEL_SETS["ferplus8"].index(spelling)] == "happiness"


def test_a_label_of_another_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        SpecError, match=r"'pride' is not a label of basic6\. Known: anger, disgust"
    ):
        LABEL_SETS["basic6"].index("pride")


def test_a_misspelt_set_is_suggested() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'ferplus8'"):
        LABEL_SETS["ferplus"]


def test_mapping_reorders_drops_and_renormalises() -> None:
    source = ("neutral", "happy", "contempt")
    mapped = map_probs(np.array([[0.3, 0.5, 0.2]]), source, ("happiness", "neutral", "anger"))
    np.testing.assert_allclose(mapped, [[0.5 / 0.8, 0.3 / 0.8, 0.0]])


def test_a_mapped_label_is_added_to_its_target() -> None:
    source = ("neutral", "calm", "sad")
    mapped = map_probs(np.array([[0.2, 0.3, 0.5]]), source, BASIC7, {"Calm": "neutral"})
    assert mapped[0, BASIC7.index("neutral")] == pytest.approx(0.5)
    assert mapped[0, BASIC7.index("sadness")] == pytest.approx(0.5)
    assert mapped.sum() == pytest.approx(1)


def test_a_row_without_remaining_probability_and_a_row_of_nan_are_nan() -> None:
    probs = np.array([[0.0, 1.0], [np.nan, np.nan], [1.0, 0.0]])
    mapped = map_probs(probs, ("fear", "contempt"), ("fear", "anger"))
    np.testing.assert_array_equal(mapped, [[np.nan, np.nan], [np.nan, np.nan], [1.0, 0.0]])


def test_mapping_to_the_same_set_changes_nothing() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(len(FERPLUS)), size=5)
    np.testing.assert_allclose(map_probs(probs, FERPLUS, FERPLUS), probs)


def test_probabilities_need_one_column_per_label() -> None:
    with pytest.raises(
        SpecError, match=r"2 labels need probabilities of shape \(N, 2\), got \(4, 3\)"
    ):
        map_probs(np.full((4, 3), 1 / 3), ("fear", "anger"), BASIC7)
