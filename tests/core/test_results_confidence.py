"""Rows that are not sure enough have no label, and keep their probabilities."""

from typing import Any

import numpy as np
import pytest

from emoscope.core.results import Provenance, Timeline

LABELS = ("anger", "fear", "joy")
SURE, NARROW, OTHER = (0.8, 0.1, 0.1), (0.4, 0.35, 0.25), (0.1, 0.9, 0.0)
NAN = float("nan")


def rows(*probs: tuple[float, ...], dtype: Any = np.float64, **about: Any) -> Timeline:
    """A second each of one face; an empty tuple is a second in which it is not read."""
    start_s = np.arange(len(probs), dtype=float)
    return Timeline(
        spans_s=np.column_stack([start_s, start_s + 1]),
        track=np.zeros(len(probs), int),
        boxes_xyxy=np.full((len(probs), 4), NAN),
        probs=np.array([row or (NAN,) * 3 for row in probs], dtype=dtype),
        modalities=np.full(len(probs), "face"),
        labels=LABELS,
        padded=np.zeros(len(probs), bool),
        provenance=Provenance(**about),
    )


def test_a_row_below_the_least_confidence_has_no_label_and_its_probabilities() -> None:
    plain = rows(SURE, NARROW, (), OTHER)
    assert plain.leading == ("anger", "anger", "", "fear")
    careful = plain.with_min_confidence(0.5)
    assert careful.leading == ("anger", "", "", "fear")
    assert careful.answered.tolist() == [True, False, False, True]
    assert careful.seen.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(careful.probs, plain.probs)
    assert careful.provenance.min_confidence == 0.5
    row = careful.to_dict()["rows"][1]
    assert row["leading"] is None
    assert row["probabilities"] == dict(zip(LABELS, NARROW, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_as_sure_as_asked_has_a_label(dtype: Any) -> None:
    for least in (0.1, 0.3, 0.6, 0.7, 0.9):
        row = (least, (1 - least) / 2, (1 - least) / 2)
        leading = LABELS[int(np.argmax(row))]
        assert rows(row, dtype=dtype).with_min_confidence(max(row)).leading == (leading,)


def test_a_segment_ends_where_the_label_does() -> None:
    careful = rows(SURE, NARROW, SURE, SURE).with_min_confidence(0.5)
    found = [(s.label, s.start_s, s.end_s) for s in careful.segments()]
    assert found == [("anger", 0, 1), ("anger", 2, 4)]
    assert [(s.start_s, s.end_s) for s in careful.segments(2.0)] == [(2, 4)]


def test_a_face_has_a_label_where_the_vote_is_sure_enough() -> None:
    film = rows(SURE, NARROW)
    (plain,) = film.summary()
    for least, leading in ((0.55, "anger"), (0.65, "")):
        (face,) = film.with_min_confidence(least).summary()
        assert face.leading == leading
        assert face.probabilities == plain.probabilities
        assert face.shares == {"anger": 0.5, "fear": 0.0, "joy": 0.0}
        assert face.seen_s == 2


@pytest.mark.parametrize("vote", ["sum-probability", "max-probability"])
def test_a_face_is_never_given_a_label_that_only_unsure_rows_have(vote: str) -> None:
    """By max-probability the unsure ones would outvote the sure one."""
    film = rows(NARROW, NARROW, NARROW, OTHER).with_min_confidence(0.5)
    (face,) = film.summary(vote)
    assert face.leading == ""
    assert face.shares["fear"] == 0.25
    (nobody,) = rows(NARROW, NARROW).with_min_confidence(0.5).summary(vote)
    assert nobody.leading == ""
    assert sum(nobody.shares.values()) == 0


def test_as_it_comes_every_row_has_a_label() -> None:
    third = (1 / 3, 1 / 3, 1 / 3)
    assert rows(third, SURE).answered.all()
    assert rows(third).with_min_confidence(0.0).leading == ("anger",)


@pytest.mark.parametrize("least", [-0.1, 1.01, NAN])
def test_a_confidence_that_is_none_is_refused(least: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        rows(SURE).with_min_confidence(least)


def test_averaging_rows_says_over_how_long() -> None:
    film = rows(SURE, OTHER, SURE)
    assert film.provenance.smooth_s == 0
    assert film.smooth(2.0).provenance.smooth_s == 2
    assert film.smooth(2.0).smooth(1.0).provenance.smooth_s == 3
