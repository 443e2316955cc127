"""Predictions of a voice for the rows of a face, and their fusion."""

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


def during(voice_rows: Timeline, *spans_s: tuple[float, float]) -> list[float]:
    return voice_during(np.array(spans_s), voice_rows)[:, 0].tolist()


VOICE_ROWS = voice([(0, 1), (1, 2), (2, 3), (3, 3.5)], [0.2, 0.6, np.nan, 0.9])


def test_a_span_takes_the_rows_that_overlap_it_weighted_by_time() -> None:
    spans_s = [(0.0, 1.0), (0.25, 0.5), (0.5, 1.5), (0.9, 1.2), (0.0, 2.0)]
    expected = [0.2, 0.2, 0.4, (0.1 * 0.2 + 0.2 * 0.6) / 0.3, 0.4]
    assert during(VOICE_ROWS, *spans_s) == pytest.approx(expected, abs=1e-9)


def test_silent_rows_do_not_count() -> None:
    """Half a second of speech decides, however much silence is beside it."""
    means = during(
        VOICE_ROWS, (1.5, 3.0), (2.1, 2.9), (2.0, 3.0), (1.5, 3.1), (3.4, 9.0), (3.5, 9.0)
    )
    expected = [0.6, np.nan, np.nan, (0.5 * 0.6 + 0.1 * 0.9) / 0.6, 0.9, np.nan]
    assert means == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_a_voice_that_covers_too_little_of_a_span_is_left_out() -> None:
    """Kind 6 of issue 18: a few words gave a gap of an hour its label."""
    shares = np.array([0.0, 0.5, 0.5, 0.5])
    spans_s = np.array([(0.0, 100.0), (0.0, 100.0), (0.0, 4.0), (0.5, 1.0)])
    happy = voice_during(spans_s, VOICE_ROWS, shares)[:, 0]
    assert np.isnan(happy).tolist() == [False, True, False, False]


def test_a_row_of_no_length_is_an_instant() -> None:
    assert during(VOICE_ROWS, (0.5, 0.5), (2.5, 2.5)) == pytest.approx([0.2, np.nan], nan_ok=True)


def test_a_voice_without_any_prediction_is_nan() -> None:
    assert np.isnan(during(voice([(0, 5)], [np.nan]), (0, 1), (1, 2))).all()


def test_an_hour_of_rows_keeps_its_precision() -> None:
    """The means come from a running sum."""
    rng = np.random.default_rng(0)
    starts = np.arange(0, 3600, 0.5)
    happy = rng.uniform(size=len(starts))
    predictions = voice([(t, t + 0.5) for t in starts.tolist()], happy.tolist())
    begun = np.arange(0, 36000) / 10
    means = voice_during(np.column_stack([begun, begun + 0.1]), predictions)[:, 0]
    np.testing.assert_allclose(means, np.repeat(happy, 5), atol=1e-9)


def test_each_row_names_its_modalities() -> None:
    rows = voice([(0, 1), (1, 2), (2, 3), (3, 4)], [0.1] * 4)
    there, gone = [0.5, 0.5], [np.nan, np.nan]
    fused = combine(
        rows,
        [
            MemberPredictions("a", "face", LABELS, np.array([there, there, gone, gone])),
            MemberPredictions("b", "voice", LABELS, np.array([there, gone, there, gone])),
            MemberPredictions("c", "voice", LABELS, np.array([there, gone, gone, gone])),
        ],
        LABELS,
        average,
    )
    assert fused.modalities.tolist() == ["face+voice", "face", "voice", ""]
    assert fused.seen.tolist() == [True, True, True, False]


def test_a_modality_is_named_once() -> None:
    rows, there = voice([(0, 1)], [0.1]), np.array([[0.5, 0.5]])
    predictions = [
        MemberPredictions("a", "face+voice", LABELS, there),
        MemberPredictions("b", "voice", LABELS, there),
    ]
    assert combine(rows, predictions, LABELS, average).modalities.tolist() == ["face+voice"]


def test_labels_are_mapped_before_fusion() -> None:
    """Contempt has no counterpart and is left out; calm is mapped to neutral."""
    rows = voice([(0, 1)], [0.5])
    face = MemberPredictions(
        "face", "face", ("Happy", "contempt", "neutral"), np.array([[0.3, 0.4, 0.3]])
    )
    maps = {"calm": "neutral"}
    voice_labels = ("neutral", "calm", "happiness")
    spoken = MemberPredictions("voice", "voice", voice_labels, np.array([[0.2, 0.5, 0.3]]), maps)
    fused = combine(rows, [face, spoken], ("happiness", "neutral"), average)
    assert fused.labels == ("happiness", "neutral")
    assert fused.probs == pytest.approx(np.array([[0.4, 0.6]]))  # of (.5, .5) and (.3, .7)


def test_no_rows_stay_no_rows() -> None:
    empty = Timeline.empty(LABELS)
    predictions = [
        MemberPredictions("a", "face", LABELS, empty.probs),
        MemberPredictions("b", "voice", LABELS, empty.probs),
    ]
    assert len(combine(empty, predictions, LABELS, average)) == 0
