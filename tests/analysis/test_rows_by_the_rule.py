"""Properties of the rows for arbitrary moments, by hypothesis."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import (
    by_frame,
    by_window,
    clip_spec,
    scene,
)

from emoscope.analysis.moments import Moment
from emoscope.core.clipspec import Last, Sampling, Uniform
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.media.sampling import sample_indices


@st.composite
def some_moments(draw: st.DrawFn) -> list[Moment]:
    """Adjacent frames, some of no duration and some of many strides; times exact in binary."""
    start_s = draw(st.sampled_from([0.0, 0.125, 5.0]))
    faces = st.dictionaries(st.integers(0, 3), st.integers(0, 100), max_size=3)
    moments: list[Moment] = []
    for ticks in draw(st.lists(st.sampled_from([0, 1, 1, 1, 2, 3, 40]), min_size=1, max_size=40)):
        end_s = start_s + ticks / 16
        moments.append(scene(start_s, end_s, dict(sorted(draw(faces).items()))))
        start_s = end_s
    return moments


def columns(timeline: Timeline) -> list[np.ndarray]:
    names = ("spans_s", "track", "boxes_xyxy", "probs", "modalities", "padded")
    return [getattr(timeline, name) for name in names]


def assert_same(one: Timeline, other: Timeline) -> None:
    for mine, theirs in zip(columns(one), columns(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@settings(max_examples=40, deadline=None)
@given(some_moments(), st.integers(1, 20))
def test_batches_of_any_size_give_the_same_rows(seen: list[Moment], batch: int) -> None:
    assert_same(by_frame(seen, batch=batch), by_frame(seen, batch=1))


@settings(max_examples=40, deadline=None)
@given(some_moments())
def test_rows_of_frames_are_the_moments_one_by_one(seen: list[Moment]) -> None:
    timeline = by_frame(seen)
    rows = [(m.start_s, t, m.end_s) for m in seen for t in tracks_in([m]) or {NO_TRACK}]
    starts_s, ends_s = timeline.spans_s.T.tolist()
    # Frames of one and the same time differ in their tracks only.
    assert sorted(zip(starts_s, timeline.track.tolist(), ends_s, strict=True)) == sorted(rows)
    assert timeline.seen.tolist() == (timeline.track != NO_TRACK).tolist()


@st.composite
def some_windows(draw: st.DrawFn) -> tuple[float, float]:
    length = draw(st.integers(1, 48))
    return length / 16, draw(st.integers(1, length)) / 16


@settings(max_examples=80, deadline=None)
@given(some_moments(), some_windows())
def test_rows_of_windows_cover_the_video_without_gap_or_overlap(
    seen: list[Moment], window: tuple[float, float]
) -> None:
    timeline = by_window(seen, clip_spec(*window))
    strides = sorted(set(map(tuple, timeline.spans_s.tolist())))
    assert strides[0][0] == seen[0].start_s
    assert strides[-1][1] == seen[-1].end_s
    assert all(before[1] == after[0] for before, after in itertools.pairwise(strides))
    assert all(end - start == window[1] for start, end in strides[:-1])
    rows = list(zip(timeline.spans_s[:, 0].tolist(), timeline.track.tolist(), strict=True))
    assert rows == sorted(set(rows))
    for start_s, end_s in strides:
        tracks = timeline.track[timeline.spans_s[:, 0] == start_s]
        assert set(tracks.tolist()) == (tracks_in(within(seen, start_s, end_s)) or {NO_TRACK})


def tracks_in(seen: list[Moment]) -> set[int]:
    return {sighting.track for moment in seen for sighting in moment.sightings}


def within(seen: list[Moment], start_s: float, end_s: float) -> list[Moment]:
    """A video of no length lies in the window that starts with it."""
    if seen[0].start_s == seen[-1].end_s:
        return seen
    return [m for m in seen if m.start_s < end_s and m.end_s > start_s]


@settings(max_examples=80, deadline=None)
@given(some_moments(), some_windows(), st.sampled_from([Uniform(length=3), Last(length=2)]))
def test_rows_equal_the_rule_applied_to_the_whole_video(
    seen: list[Moment], window: tuple[float, float], sampling: Sampling
) -> None:
    timeline = by_window(seen, clip_spec(*window, sampling=sampling))
    expected = dict(expected_rows(seen, *window, sampling))
    rows = [
        ((round((start_s - seen[0].start_s) / window[1]), track), (prob, padded))
        for (start_s, _), track, prob, padded in zip(
            timeline.spans_s.tolist(),
            timeline.track.tolist(),
            timeline.probs[:, 0].tolist(),
            timeline.padded.tolist(),
            strict=True,
        )
        if track != NO_TRACK
    ]
    assert dict(rows).keys() == expected.keys()
    for key, (prob, padded) in rows:
        assert prob == pytest.approx(expected[key][0], abs=1e-6)
        assert padded == expected[key][1]


def expected_rows(
    seen: list[Moment], length_s: float, stride_s: float, sampling: Sampling
) -> Iterator[tuple[tuple[int, int], tuple[float, bool]]]:
    """((stride, track), (brightness, padded)), from all windows."""
    zero_s, end_s = seen[0].start_s, seen[-1].end_s
    count = max(1, int(np.ceil((end_s - zero_s) / stride_s)))
    says = {}
    for window in range(count):
        start_s = zero_s + window * stride_s
        inside = within(seen, start_s, start_s + length_s)
        for track in tracks_in(inside):
            faces = [s for m in inside for s in m.sightings if s.track == track]
            levels = [face.picture[0, 0, 0] / 255 for face in faces]
            chosen = [levels[i] for i in sample_indices(sampling, len(levels))]
            whole = start_s + length_s <= end_s and len(levels) == len(inside)
            says[window, track] = (whole, np.mean(chosen), len(levels) < sampling.length)
    for stride in range(count):
        start_s = zero_s + stride * stride_s
        covering = range(max(0, stride + 1 - int(length_s / stride_s)), stride + 1)
        for track in tracks_in(within(seen, start_s, min(start_s + stride_s, end_s))):
            votes = [says[window, track] for window in covering if (window, track) in says]
            votes = [vote for vote in votes if vote[0]] or votes
            mean = float(np.mean([value for _, value, _ in votes]))
            yield (stride, track), (mean, any(padded for _, _, padded in votes))
