import gc
import weakref
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from scripted import (
    LABELS,
    Faces,
    brightness,
    by_frame,
    by_window,
    clip_spec,
    image_spec,
    near,
    plain,
    predict,
    scene,
    scenes,
)

from emoscope.analysis.moments import Moment
from emoscope.analysis.rows import FrameRows, WindowRows
from emoscope.analysis.stages import through
from emoscope.core.clipspec import Last, Uniform
from emoscope.core.results import NO_TRACK, Box
from emoscope.media.people.sightings import Sighting

nan = float("nan")


def noted(seen: Iterable[Moment], taken: list[Moment]) -> Iterator[Moment]:
    """The same moments, each appended to `taken` when it is consumed."""
    for moment in seen:
        taken.append(moment)
        yield moment


# Image models: a row a face a moment


def test_every_moment_has_a_row_per_face() -> None:
    timeline = by_frame(scenes([{1: 10}, {1: 20, 3: 60}, {3: 70}], step_s=0.25))
    assert timeline.spans_s.tolist() == [[0, 0.25], [0.25, 0.5], [0.25, 0.5], [0.5, 0.75]]
    assert timeline.track.tolist() == [1, 1, 3, 3]
    assert brightness(timeline) == near(10, 20, 60, 70)
    assert timeline.boxes_xyxy[2].tolist() == [30, 0, 38, 8]
    assert timeline.modalities.tolist() == ["face"] * 4
    assert not timeline.padded.any()


def test_a_moment_without_a_face_is_a_row_of_nan() -> None:
    timeline = by_frame(scenes([{}, {2: 50}, {}]))
    assert timeline.track.tolist() == [NO_TRACK, 2, NO_TRACK]
    assert brightness(timeline) == near(nan, 50, nan)
    assert np.isnan(timeline.boxes_xyxy[[0, 2]]).all()
    assert timeline.modalities.tolist() == ["", "face", ""]


def test_a_batch_is_one_call_of_the_model_or_none_without_faces() -> None:
    calls: list[int] = []

    def counting(inputs: dict[str, np.ndarray]) -> np.ndarray:
        calls.append(len(inputs["rgb"]))
        return predict(inputs)

    by_frame(scenes([{1: 5, 2: 6}, {1: 7}, {}, {}, {1: 8}]), batch=2, ask=counting)
    assert calls == [3, 1]


def test_a_row_is_given_as_soon_as_its_batch_is_full() -> None:
    taken: list[Moment] = []
    stream = noted(scenes([{1: 10}] * 6), taken)
    parts = through(FrameRows(image_spec(), predict, LABELS, "face", batch=2), stream)
    assert [(len(part), len(taken)) for part in parts] == [(2, 2), (2, 4), (2, 6)]


def test_a_single_image_is_a_row_that_lasts_no_time() -> None:
    timeline = by_frame([scene(0.0, 0.0, {0: 40})])
    assert timeline.spans_s.tolist() == [[0, 0]]
    assert brightness(timeline) == near(40)


# Clip models: the mean over all windows that cover a stride


def test_overlapping_windows_are_averaged() -> None:
    """Windows of 1 s every 0.5 s over 20 frames that rise from 0 to 95: each sees 10 of them."""
    spec = clip_spec(sampling=Uniform(length=10))
    timeline = by_window(scenes([{0: 5 * i} for i in range(20)]), spec)
    assert timeline.spans_s == pytest.approx(np.array([(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2)]))
    # Windows at 0, 0.5 and 1 s are whole: 22.5, 47.5 and 72.5. The one at 1.5 s is cut short.
    assert brightness(timeline) == near(22.5, (22.5 + 47.5) / 2, (47.5 + 72.5) / 2, 72.5)
    assert not timeline.padded.any()


def test_windows_that_cover_a_stride_may_vote_instead() -> None:
    """Windows of 1 s every 0.25 s: four cover a stride. Three are slightly bright, one
    is dark."""
    spec = clip_spec(stride_s=0.25, sampling=Uniform(length=1))  # each sees its middle frame
    levels = [{0: 55}] * 5 + [{0: 0}] + [{0: 55}] * 9
    stride = 3  # covered by the windows from 0, 0.25, 0.5 and 0.75 s, which see 0.5 to 1.25 s
    added = by_window(scenes(levels, step_s=0.25), spec)
    counted = by_window(scenes(levels, step_s=0.25), spec, vote="max-probability")
    assert brightness(added)[stride : stride + 1] == near(3 * 55 / 4)
    assert added.leading[stride] == "dark"
    assert brightness(counted)[stride : stride + 1] == near(75)
    assert counted.leading[stride] == "bright"
    assert brightness(counted)[:1] == near(100), "one window is unanimous"


def test_of_two_windows_that_disagree_the_more_confident_decides() -> None:
    spec = clip_spec(sampling=Uniform(length=10))
    for levels, leading in (((60, 20), "dark"), ((80, 45), "bright")):
        faces: list[Faces] = [{0: levels[i // 10]} for i in range(20)]
        (row,) = np.flatnonzero(by_window(scenes(faces), spec).spans_s[:, 0] == 1.0)
        timeline = by_window(scenes(faces), spec, vote="max-probability")
        assert timeline.leading[row] == leading


def test_a_cut_window_counts_where_no_whole_window_covers() -> None:
    """2.2 s: the last stride starts at 2 s, where the last whole window has ended."""
    spec = clip_spec(sampling=Uniform(length=10))
    timeline = by_window(scenes([{0: 4 * i} for i in range(22)]), spec)
    assert timeline.spans_s[-1] == pytest.approx([2.0, 2.2])
    # Of the windows cut short, that at 1.5 s holds frames 15 to 21 and that at 2 s frames 20, 21:
    # the repeated last frame fills them up.
    first = sum([15, 16, 17, 18, 19, 20, 21, 21, 21, 21]) / 10
    second = (20 + 21 * 9) / 10
    assert brightness(timeline)[-1:] == near(4 * (first + second) / 2)
    assert timeline.padded.tolist() == [False] * 4 + [True]


def test_strides_that_do_not_divide_the_window_are_covered_wholly_or_not_at_all() -> None:
    """Every 0.4 s, windows of 1 s cover two whole strides and half of a third."""
    spec = clip_spec(length_s=1.0, stride_s=0.4, sampling=Uniform(length=10))
    timeline = by_window(scenes([{0: i} for i in range(40)]), spec)
    assert brightness(timeline)[:4] == near(
        4.5, (4.5 + 8.5) / 2, (8.5 + 12.5) / 2, (12.5 + 16.5) / 2
    )


def test_adjacent_windows_give_one_row_each() -> None:
    spec = clip_spec(length_s=1.0, stride_s=1.0, sampling=Uniform(length=10))
    timeline = by_window(scenes([{0: i} for i in range(30)]), spec)
    assert timeline.spans_s == pytest.approx(np.array([(0, 1), (1, 2), (2, 3)]))
    assert brightness(timeline) == near(4.5, 14.5, 24.5)


def test_a_video_shorter_than_a_window_is_padded() -> None:
    timeline = by_window(scenes([{0: 30}, {0: 60}]), clip_spec())
    assert timeline.spans_s == pytest.approx(np.array([(0.0, 0.2)]))
    assert brightness(timeline) == near((30 + 4 * 60) / 5)
    assert timeline.padded.tolist() == [True]


def test_a_single_image_is_one_padded_row() -> None:
    timeline = by_window([scene(0.0, 0.0, {0: 40})], clip_spec())
    assert timeline.spans_s.tolist() == [[0, 0]]
    assert brightness(timeline) == near(40)
    assert timeline.padded.tolist() == [True]


def test_rows_are_padded_only_by_the_windows_they_are_made_of() -> None:
    """The window that the end cuts short is too short for the model, but does not count."""
    spec = clip_spec(sampling=Uniform(length=10))
    assert not by_window(scenes([{0: 50}] * 20), spec).padded.any()
    assert by_window(scenes([{0: 50}] * 20), clip_spec(sampling=Uniform(length=11))).padded.all()


def test_a_face_has_rows_where_it_is_visible() -> None:
    """Face 1 from 0 to 0.7 s and from 2 s on, face 2 from 1 to 1.5 s, nobody from 1.5 to 2 s."""
    spec = clip_spec(sampling=Uniform(length=10))
    faces: list[Faces] = [{1: 20}] * 7 + [{}] * 3 + [{2: 80}] * 5 + [{}] * 5 + [{1: 40}] * 10
    timeline = by_window(scenes(faces), spec)
    assert timeline.spans_s[:, 0] == pytest.approx(np.arange(6) / 2)
    assert timeline.track.tolist() == [1, 1, 2, NO_TRACK, 1, 1]
    assert brightness(timeline) == near(20, 20, 80, nan, 40, 40)
    # Face 2 is never visible throughout a window: its prediction comes from the visible part.
    assert timeline.padded.tolist() == [True, True, True, False, False, False]
    assert timeline.modalities.tolist() == ["face"] * 3 + ["", "face", "face"]


def test_windows_with_a_missing_face_do_not_count_beside_whole_ones() -> None:
    """Dark until 1 s, bright after, away from 1.5 to 1.7 s."""
    spec = clip_spec(sampling=Uniform(length=5))
    faces: list[Faces] = [{1: 20}] * 10 + [{1: 90}] * 5 + [{}] * 2 + [{1: 90}] * 3
    timeline = by_window(scenes(faces), spec)
    # Only the windows at 0 and 0.5 s hold the face throughout: 20 and, over two such frames and
    # three bright ones, 62. The stride from 1.5 s has the windows at 1 and 1.5 s alone: both 90.
    assert brightness(timeline) == near(20, (20 + 62) / 2, 62, 90)


def test_each_face_has_its_own_windows_in_order_of_tracks() -> None:
    spec = clip_spec(sampling=Uniform(length=10))
    rows = list(through(WindowRows(spec, predict, LABELS, "face"), scenes([{5: 90, 2: 10}] * 20)))
    assert [row.track.tolist() for row in rows] == [[2, 5]] * 4
    assert [brightness(row) for row in rows] == [near(10, 90)] * 4


def test_the_box_of_a_row_is_that_of_its_start() -> None:
    moments = [
        Moment(i / 10, (i + 1) / 10, (Sighting(0, Box(i, 0, i + 8, 8), plain(50)),))
        for i in range(10)
    ]
    timeline = by_window(moments, clip_spec())
    assert timeline.boxes_xyxy.tolist() == [[0, 0, 8, 8], [5, 0, 13, 8]]


def test_moments_that_start_late_give_the_same_rows_later() -> None:
    faces: list[Faces] = [{0: 5 * i} for i in range(20)]
    early = by_window(scenes(faces, step_s=0.125), clip_spec())
    late = by_window(scenes(faces, step_s=0.125, start_s=5.0), clip_spec())
    np.testing.assert_array_equal(late.spans_s, early.spans_s + 5.0)
    np.testing.assert_array_equal(late.probs, early.probs)


def test_a_row_is_given_when_the_last_window_that_covers_it_is_full() -> None:
    taken: list[Moment] = []
    stream = noted(scenes([{0: 50}] * 25), taken)
    rows = through(WindowRows(clip_spec(), predict, LABELS, "face"), stream)
    given = [(part.spans_s[0, 0], taken[-1].end_s) for part in rows]
    assert np.array(given) == pytest.approx(
        np.array([(0, 1), (0.5, 1.5), (1, 2), (1.5, 2.5), (2, 2.5)])
    )


# Frames at a variable rate


def test_a_long_still_picture_fills_its_strides() -> None:
    moments = [scene(0.0, 3.3, {0: 30}), *scenes([{0: 80}] * 10, start_s=3.3)]
    timeline = by_window(moments, clip_spec())
    assert timeline.spans_s[:, 0] == pytest.approx(np.arange(9) / 2)
    assert brightness(timeline)[:5] == near(*[30] * 5)
    assert brightness(timeline)[-1:] == near(80)


def test_a_time_grid_starts_with_the_window() -> None:
    """The still picture from 0 to 5.25 s is one of four instants in the window from 5 s."""
    spec = clip_spec(stride_s=1.0, sampling=Uniform(length=4), rate_hz=4.0)
    moving = scenes([{0: 40}, {0: 60}, {0: 80}], step_s=0.25, start_s=5.25)
    timeline = by_window([scene(0.0, 5.25, {0: 20}), *moving], spec)
    assert brightness(timeline) == near(*[20] * 5, (20 + 40 + 60 + 80) / 4)
    assert not timeline.padded.any()


def test_a_time_grid_reaches_the_end_of_a_window_with_a_still_picture() -> None:
    spec = clip_spec(stride_s=1.0, sampling=Uniform(length=4), rate_hz=4.0)
    timeline = by_window([scene(0.0, 0.25, {0: 20}), scene(0.25, 2.0, {0: 60})], spec)
    assert brightness(timeline) == near((20 + 3 * 60) / 4, 60)
    assert not timeline.padded.any()


def test_a_time_grid_ends_where_the_face_leaves() -> None:
    spec = clip_spec(stride_s=1.0, sampling=Uniform(length=4), rate_hz=4.0)
    timeline = by_window(
        [scene(0.0, 0.25, {0: 20}), scene(0.25, 0.5, {0: 60}), scene(0.5, 1, {})], spec
    )
    # Two instants, the latter repeated.
    assert brightness(timeline) == near((20 + 3 * 60) / 4)
    assert timeline.padded.tolist() == [True]


def test_zero_time_between_two_frames_loses_neither_order_nor_time() -> None:
    moments = [scene(0, 0.5, {0: 20}), scene(0.5, 0.5, {0: 90}), scene(0.5, 1.0, {0: 20})]
    timeline = by_window(moments, clip_spec(sampling=Last(length=3)))
    assert timeline.spans_s.tolist() == [[0, 0.5], [0.5, 1.0]]
    assert brightness(timeline)[:1] == near((20 + 90 + 20) / 3)


# Bounded memory


@pytest.mark.parametrize("model", ["image", "clip"])
def test_moments_and_predictions_are_freed(model: str) -> None:
    """As many are kept at the end as after the first second."""
    moments: weakref.WeakSet[Moment] = weakref.WeakSet()
    answers: list[weakref.ref[np.ndarray]] = []

    def live() -> Iterator[Moment]:
        for i in range(600):
            moment = scene(i / 10, (i + 1) / 10, {i // 50: 50})
            moments.add(moment)
            yield moment

    def kept(inputs: dict[str, np.ndarray]) -> np.ndarray:
        probs = predict(inputs)
        answers.append(weakref.ref(probs))
        return probs

    if model == "image":
        rows = through(FrameRows(image_spec(), kept, LABELS, "face", 16), live())
    else:
        rows = through(WindowRows(clip_spec(), kept, LABELS, "face"), live())
    for _ in rows:
        gc.collect(0)
        assert len(moments) <= 18
        assert sum(answer() is not None for answer in answers) <= 3
