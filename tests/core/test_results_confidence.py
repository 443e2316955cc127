"""Rows below the minimum confidence have no label and keep their probabilities."""

from typing import Any

import numpy as np
import pytest

from emoscope.core.results import Provenance, Timeline

LABELS = ("anger", "fear", "joy")
SURE, NARROW, OTHER = (0.8, 0.1, 0.1), (0.4, 0.35, 0.25), (0.1, 0.9, 0.0)
NAN = float("nan")


def rows(*probs: tuple[float, ...], dtype: Any = np.float64, **about: Any) -> Timeline:
    """One second per row of one face; an empty tuple is a row of NaN."""
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


def test_a_row_below_the_minimum_confidence_keeps_only_its_probabilities() -> None:
    plain = rows(SURE, NARROW, (), OTHER)
    assert plain.leading == ("anger", "anger", "", "fear")
    careful = rows(SURE, NARROW, (), OTHER, min_confidence=0.5)
    assert careful.leading == ("anger", "", "", "fear")
    assert careful.answered.tolist() == [True, False, False, True]
    assert careful.seen.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(careful.probs, plain.probs)
    row = careful.to_dict()["rows"][1]
    assert row["leading"] is None
    assert row["probabilities"] == dict(zip(LABELS, NARROW, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_at_the_minimum_confidence_has_a_label(dtype: Any) -> None:
    for first in (0.1, 0.3, 0.6, 0.7, 0.9):
        row = (first, (1 - first) / 2, (1 - first) / 2)
        leading = LABELS[int(np.argmax(row))]
        assert rows(row, dtype=dtype, min_confidence=max(row)).leading == (leading,)


def test_a_segment_ends_at_a_row_without_a_label() -> None:
    careful = rows(SURE, NARROW, SURE, SURE, min_confidence=0.5)
    segments = [(s.label, s.start_s, s.end_s) for s in careful.segments()]
    assert segments == [("anger", 0, 1), ("anger", 2, 4)]
    assert [(s.start_s, s.end_s) for s in careful.segments(2.0)] == [(2, 4)]


def test_a_face_has_a_label_if_its_probability_reaches_the_minimum() -> None:
    (plain,) = rows(SURE, NARROW).summary()
    for minimum, leading in ((0.55, "anger"), (0.65, "")):
        (face,) = rows(SURE, NARROW, min_confidence=minimum).summary()
        assert face.leading == leading
        assert face.probabilities == plain.probabilities
        assert face.shares == {"anger": 0.5, "fear": 0.0, "joy": 0.0}
        assert face.seen_s == 2


@pytest.mark.parametrize("vote", ["sum-probability", "max-probability"])
def test_a_face_never_has_a_label_that_only_unsure_rows_have(vote: str) -> None:
    """With max-probability the unsure rows would outvote the sure one."""
    (face,) = rows(NARROW, NARROW, NARROW, OTHER, min_confidence=0.5).summary(vote)
    assert face.leading == ""
    assert face.shares["fear"] == 0.25
    (unsure,) = rows(NARROW, NARROW, min_confidence=0.5).summary(vote)
    assert unsure.leading == ""
    assert sum(unsure.shares.values()) == 0


def test_by_default_every_row_has_a_label() -> None:
    third = (1 / 3, 1 / 3, 1 / 3)
    assert rows(third, SURE).answered.all()
    assert rows(third).leading == ("anger",)


def test_smoothing_adds_its_window_to_the_provenance() -> None:
    timeline = rows(SURE, OTHER, SURE)
    assert timeline.provenance.smooth_s == 0
    assert timeline.smooth(2.0).provenance.smooth_s == 2
    assert timeline.smooth(2.0).smooth(1.0).provenance.smooth_s == 3
