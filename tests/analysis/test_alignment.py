"""What is said in a span of another model's rows, by overlap."""

import numpy as np
import pytest

from emoscope.analysis.alignment import MemberPredictions, combine, voice_during
from emoscope.analysis.fusion import average
from emoscope.core.results import Timeline

LABELS = ("happiness", "sadness")


def voice(spans_s: list[tuple[float, float]], happy: list[float]) -> Timeline:
    """A voice's rows; NaN where it is silent."""
    n, p = len(spans_s), np.array(happy)
    return Timeline(
        spans_s=np.array(spans_s, dtype=np.float64).reshape(n, 2),
        track=np.where(np.isnan(p), -1, 0),
        boxes_xyxy=np.full((n, 4), np.nan),
        probs=np.column_stack([p, 1 - p]),
        modalities=np.where(np.isnan(p), "", "voice"),
        labels=LABELS,
        padded=np.zeros(n, dtype=bool),
    )


def during(said: Timeline, *spans_s: tuple[float, float]) -> list[float]:
    return voice_during(np.array(spans_s), said)[:, 0].tolist()


SAID = voice([(0, 1), (1, 2), (2, 3), (3, 3.5)], [0.2, 0.6, np.nan, 0.9])


def test_a_span_takes_what_is_said_in_it_weighted_by_overlap() -> None:
    spans_s = [(0.0, 1.0), (0.25, 0.5), (0.5, 1.5), (0.9, 1.2), (0.0, 2.0)]
    expected = [0.2, 0.2, 0.4, (0.1 * 0.2 + 0.2 * 0.6) / 0.3, 0.4]
    assert during(SAID, *spans_s) == pytest.approx(expected, abs=1e-9)


def test_silence_counts_for_nothing() -> None:
    """Half a second of speech decides, however much silence is beside it."""
    found = during(SAID, (1.5, 3.0), (2.1, 2.9), (2.0, 3.0), (1.5, 3.1), (3.4, 9.0), (3.5, 9.0))
    expected = [0.6, np.nan, np.nan, (0.5 * 0.6 + 0.1 * 0.9) / 0.6, 0.9, np.nan]
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_a_row_of_no_length_is_an_instant() -> None:
    assert during(SAID, (0.5, 0.5), (2.5, 2.5)) == pytest.approx([0.2, np.nan], nan_ok=True)


def test_a_voice_that_is_never_heard_says_nothing() -> None:
    assert np.isnan(during(voice([(0, 5)], [np.nan]), (0, 1), (1, 2))).all()


def test_an_hour_of_rows_keeps_its_digits() -> None:
    """They are read off a running sum."""
    rng = np.random.default_rng(0)
    starts = np.arange(0, 3600, 0.5)
    happy = rng.uniform(size=len(starts))
    said = voice([(t, t + 0.5) for t in starts.tolist()], happy.tolist())
    begun = np.arange(0, 36000) / 10
    found = voice_during(np.column_stack([begun, begun + 0.1]), said)[:, 0]
    np.testing.assert_allclose(found, np.repeat(happy, 5), atol=1e-9)


def test_each_row_names_who_spoke() -> None:
    rows = voice([(0, 1), (1, 2), (2, 3), (3, 4)], [0.1] * 4)
    there, gone = [0.5, 0.5], [np.nan, np.nan]
    found = combine(
        rows,
        [
            MemberPredictions("a", "face", LABELS, np.array([there, there, gone, gone])),
            MemberPredictions("b", "voice", LABELS, np.array([there, gone, there, gone])),
            MemberPredictions("c", "voice", LABELS, np.array([there, gone, gone, gone])),
        ],
        LABELS,
        average,
    )
    assert found.modalities.tolist() == ["face+voice", "face", "voice", ""]
    assert found.seen.tolist() == [True, True, True, False]


def test_who_looks_and_listens_is_not_named_twice() -> None:
    rows, there = voice([(0, 1)], [0.1]), np.array([[0.5, 0.5]])
    said = [
        MemberPredictions("a", "face+voice", LABELS, there),
        MemberPredictions("b", "voice", LABELS, there),
    ]
    assert combine(rows, said, LABELS, average).modalities.tolist() == ["face+voice"]


def test_labels_are_carried_over_before_they_are_fused() -> None:
    """Contempt has no place and is left out; calm is neutral."""
    rows = voice([(0, 1)], [0.5])
    face = MemberPredictions(
        "face", "face", ("Happy", "contempt", "neutral"), np.array([[0.3, 0.4, 0.3]])
    )
    maps = {"calm": "neutral"}
    heard = ("neutral", "calm", "happiness")
    spoken = MemberPredictions("voice", "voice", heard, np.array([[0.2, 0.5, 0.3]]), maps)
    found = combine(rows, [face, spoken], ("happiness", "neutral"), average)
    assert found.labels == ("happiness", "neutral")
    assert found.probs == pytest.approx(np.array([[0.4, 0.6]]))  # of (.5, .5) and (.3, .7)


def test_no_rows_stay_none() -> None:
    empty = Timeline.empty(LABELS)
    said = [
        MemberPredictions("a", "face", LABELS, empty.probs),
        MemberPredictions("b", "voice", LABELS, empty.probs),
    ]
    assert len(combine(empty, said, LABELS, average)) == 0
