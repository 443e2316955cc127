"""Timeline.segments and Timeline.smooth, checked by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from emoscope.core.results import Timeline

LETTERS = "ABC"
NAN = float("nan")


def strip(letters: str, *, track: int = 0, step_s: float = 1.0) -> Timeline:
    """One row per letter: A, B, C lead with 0.8; "." is a row without a face, "?" a face with
    probabilities of NaN; a blank is a missing row."""
    places = [i for i, letter in enumerate(letters) if letter != " "]
    shown = [letters[i] for i in places]
    chances = {x: np.where(np.array(list(LETTERS)) == x, 0.8, 0.1) for x in LETTERS}
    start = np.array(places) * step_s
    seen = np.array([letter != "." for letter in shown])
    read = np.array([letter in LETTERS for letter in shown])
    return Timeline(
        spans_s=np.stack([start, (np.array(places) + 1) * step_s], axis=1),
        track=np.where(seen, track, -1),
        boxes_xyxy=np.where(seen[:, None], 1.0, NAN) * np.ones(4),
        probs=np.array([chances.get(letter, np.full(3, NAN)) for letter in shown]),
        modalities=np.where(read, "face", ""),
        labels=tuple(LETTERS),
        padded=np.zeros(len(shown), dtype=bool),
    )


def from_probs(
    probs: list[list[float]], step_s: float = 1.0, dtype: npt.DTypeLike = np.float64
) -> Timeline:
    """Rows of `step_s` seconds of one face; a row of NaN has no face."""
    start = np.arange(len(probs)) * step_s
    values: npt.NDArray[np.floating] = np.array(probs, dtype=dtype)
    seen = ~np.isnan(values[:, 0])
    return Timeline(
        spans_s=np.stack([start, start + step_s], axis=1),
        track=np.where(seen, 0, -1),
        boxes_xyxy=np.full((len(probs), 4), NAN),
        probs=values,
        modalities=np.where(seen, "face", ""),
        labels=tuple(LETTERS[: len(probs[0])]),
        padded=np.zeros(len(probs), dtype=bool),
    )


def segments_text(timeline: Timeline, min_s: float = 0.0) -> str:
    return " ".join(f"{s.label}{s.start_s:g}-{s.end_s:g}" for s in timeline.segments(min_s))


@pytest.mark.parametrize(
    ("letters", "min_s", "expected"),
    [
        ("AAABBA", 0.0, "A0-3 B3-5 A5-6"),  # equal adjacent rows are joined
        ("AAABBA", 1.0, "A0-3 B3-5 A5-6"),  # a second is not shorter than a second
        ("AAABBA", 2.0, "A0-3 B3-6"),  # the last one joins its adjacent segment
        ("AAAABCCC", 2.0, "A0-5 C5-8"),  # a short one joins the longer adjacent one
        ("AAABCCCC", 2.0, "A0-3 C3-8"),
        ("AABAA", 2.0, "A0-5"),  # both sides are joined
        ("AABCCCC", 3.0, "C0-7"),  # B joins C first; then A has only C beside it
        ("AA..C..AA", 2.0, "A0-2 A7-9"),  # short and isolated: left out
        ("AA.AA", 0.0, "A0-2 A3-5"),  # a row without a face separates
        ("AA AA", 0.0, "A0-2 A3-5"),  # so does a missing row
        ("AA?AA", 0.0, "A0-2 A3-5"),  # and a row of NaN
        ("AA.BAA", 2.0, "A0-2 A3-6"),  # only adjacent ones join
        ("ABABAB", 9.0, ""),  # too short as a whole
        ("...", 0.0, ""),
    ],
)
def test_segments_by_hand(letters: str, min_s: float, expected: str) -> None:
    assert segments_text(strip(letters), min_s) == expected


def test_a_segments_probability_is_its_labels_mean_weighted_by_time() -> None:
    timeline = from_probs([[0.9, 0.1], [0.6, 0.4]])
    spans = np.array([[0.0, 1.0], [1.0, 4.0]])
    timeline = Timeline(**{**vars(timeline), "spans_s": spans})
    (segment,) = timeline.segments()
    assert segment.probability == pytest.approx((0.9 * 1 + 0.6 * 3) / 4)


def test_an_absorbed_stretch_counts_with_its_own_probability() -> None:
    (segment,) = strip("AABAA").segments(2.0)
    assert segment.probability == pytest.approx((4 * 0.8 + 0.1) / 5)


def test_two_faces_have_segments_of_their_own() -> None:
    both = Timeline.concatenate([strip("AABB", track=1), strip("CABB", track=2)])
    segments = [(s.track, s.label, s.start_s, s.end_s) for s in both.segments()]
    assert segments == [
        (1, "A", 0, 2),
        (2, "C", 0, 1),
        (2, "A", 1, 2),
        (1, "B", 2, 4),
        (2, "B", 2, 4),
    ]


def test_segments_of_a_flickering_face_cover_all_of_its_time() -> None:
    timeline = strip("ABCB" * 1500, step_s=0.1)
    assert len(timeline.segments()) == 6000
    assert sum(s.end_s - s.start_s for s in timeline.segments(0.5)) == pytest.approx(600)


def test_centred_smoothing_averages_the_rows_around_by_hand() -> None:
    timeline = from_probs([[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]])
    smooth = timeline.smooth(2.0)
    np.testing.assert_allclose(smooth.probs[:, 0], [1 / 2, 1 / 3, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(smooth.probs.sum(axis=1), 1)


def test_causal_smoothing_averages_the_rows_before_by_hand() -> None:
    timeline = from_probs([[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]])
    smooth = timeline.smooth(2.0, causal=True)
    np.testing.assert_allclose(smooth.probs[:, 0], [1, 1 / 2, 1 / 3, 1 / 3, 2 / 3])


@pytest.mark.parametrize("causal", [False, True])
def test_constant_probabilities_stay(causal: bool) -> None:
    timeline = from_probs([[0.7, 0.2, 0.1]] * 20, step_s=0.1)
    smooth = timeline.smooth(0.5, causal=causal)
    np.testing.assert_allclose(smooth.probs, timeline.probs, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_rows_of_nan_stay_and_are_ignored(causal: bool) -> None:
    timeline = from_probs([[1, 0], [NAN, NAN], [0, 1]])
    smooth = timeline.smooth(10.0, causal=causal)
    assert np.isnan(smooth.probs).any(axis=1).tolist() == [False, True, False]
    np.testing.assert_allclose(smooth.probs[2], [0.5, 0.5])


def test_causal_smoothing_never_looks_ahead() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(3), size=12).tolist()
    before = from_probs(rows).smooth(4.0, causal=True).probs
    rows[8] = [0.0, 0.0, 1.0]
    after = from_probs(rows).smooth(4.0, causal=True).probs
    np.testing.assert_array_equal(before[:8], after[:8])
    assert not np.allclose(before[8:], after[8:])


@pytest.mark.parametrize("causal", [False, True])
def test_faces_do_not_mix(causal: bool) -> None:
    one, two = strip("AABBA", track=1), strip("CBCCA", track=2)
    both = Timeline.concatenate([one, two]).smooth(2.0, causal=causal)
    for alone in (one, two):
        track = int(alone.track[0])
        np.testing.assert_allclose(
            both.for_track(track).probs, alone.smooth(2.0, causal=causal).probs
        )


def test_a_long_video_in_float32_keeps_its_precision() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(3), size=40_000)
    exact = from_probs(rows.tolist(), step_s=1 / 30).smooth(1.0)
    single = from_probs(rows.tolist(), step_s=1 / 30, dtype=np.float32).smooth(1.0)
    assert single.probs.dtype == np.float32
    np.testing.assert_allclose(single.probs, exact.probs, atol=1e-6)


def test_a_window_must_be_positive() -> None:
    with pytest.raises(ValueError, match="window_s must be positive"):
        strip("AB").smooth(0.0)
