"""Sliding windows and windows built separately give the same Timeline."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_video
from scripted import brightness, by_window, clip_spec, near, scene
from tiny_bundles import clip_bundle

from emoscope.analysis import window_inputs
from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.moments import Moment, moments
from emoscope.analysis.rows import WindowRows
from emoscope.analysis.stages import through
from emoscope.core.clipspec import CHANNELS, ClipSpec, Last, Stream, Uniform, Window
from emoscope.core.results import Box, Timeline
from emoscope.media.clip_stream import ClipStream
from emoscope.media.detectors.whole_frame import WholeFrame
from emoscope.media.people.sightings import Sighting
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.video import read_frames

LABELS = ("this", "that")
RATE_HZ, LENGTH = 8.0, 6
Who = Callable[[float], Sequence[tuple[int, int]]]  # time -> (track, x) of everybody there


def served(stride: int = 1) -> ClipSpec:
    """All kinds of streams; windows of 0.75 s."""
    return ClipSpec(
        sampling=Last(length=LENGTH),
        rate_hz=RATE_HZ,
        window=Window(length_s=LENGTH / RATE_HZ, stride_s=stride / RATE_HZ),
        streams=tuple(Stream(kind=kind, size_hw=(16, 16)) for kind in CHANNELS),
    )


def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """A prediction that changes with every frame and its place."""
    total = np.zeros(len(next(iter(inputs.values()))))
    for values in inputs.values():
        weights = np.random.default_rng(values.shape[1:]).normal(size=values[0].size)
        total += values.reshape(len(values), -1).astype(np.float64) @ weights / len(weights) ** 0.5
    this = 1 / (1 + np.exp(-total))
    return np.column_stack([this, 1 - this])


def built_anew(make: Callable[[], Timeline]) -> Timeline:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClipStream, "serves", lambda spec: False)
        return make()


def rows_of(seen: Iterable[Moment], spec: ClipSpec) -> Timeline:
    return Timeline.concatenate(through(WindowRows(spec, predict, LABELS, "face"), seen))


def assert_same(one: Timeline, other: Timeline) -> None:
    for name in ("spans_s", "track", "boxes_xyxy", "modalities", "padded"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_allclose(one.probs, other.probs, atol=1e-5)


def texture(index: int) -> np.ndarray:
    """(48, 96, 3): moving waves, different in every frame and place."""
    y, x = np.mgrid[:48, :96]
    waves = [
        np.sin((x * a + y * b) / 9 + index * c) for a, b, c in ((2, 1, 1), (1, 3, 2), (1, 1, 3))
    ]
    return np.asarray(127 + 120 * np.stack(waves, -1), dtype=np.uint8)


def film(path: Path, times_s: Sequence[float]) -> Path:
    return make_video(path, num_frames=len(times_s), times_s=times_s, fps=30, picture=texture)


def watched(path: Path, who: Who) -> Iterator[Moment]:
    """The faces in a video as squares of 32 pixels, where `who` lists them."""
    spec = served().model_copy(update={"region": "frame"})
    for moment in moments(read_frames(path), spec, FaceTracker(WholeFrame())):
        yield replace(
            moment,
            sightings=tuple(
                Sighting(track, Box(x, 8, x + 32, 40), whole.picture[8:40, x : x + 32])
                for whole in moment.sightings  # none in a gap
                for track, x in who(moment.start_s)
            ),
        )


def one_face(time_s: float) -> list[tuple[int, int]]:
    return [(0, round(10 + 20 * time_s) % 64)]


def two_faces(time_s: float) -> list[tuple[int, int]]:
    return [(0, 5), (1, round(60 - 10 * time_s) % 64)]


def comes_and_goes(time_s: float) -> list[tuple[int, int]]:
    """Face 2 is away from 1 to 1.1 s, one step of the grid, and from 2 to 2.3 s; face 5 comes at
    0.8 s, between two steps, and is away in one frame at 1.7 s, at no step."""
    faces = [] if 1 <= time_s < 1.1 or 2 <= time_s < 2.3 else [(2, 20)]
    return faces + ([] if time_s < 0.8 or 1.69 < time_s < 1.71 else [(5, 50)])


REGULAR_S = [i / 30 for i in range(90)]
VARIABLE_S = np.cumsum(np.random.default_rng(1).choice([0.02, 0.04, 0.15, 0.7], 40)).tolist()


@pytest.mark.parametrize("stride", [1, 4, LENGTH])
@pytest.mark.parametrize(
    ("times_s", "who", "suffix"),
    [
        (REGULAR_S, one_face, ".mp4"),
        ([i * 1.001 / 30 for i in range(90)], one_face, ".mkv"),
        (VARIABLE_S, one_face, ".mp4"),
        (REGULAR_S, two_faces, ".mp4"),
        (VARIABLE_S, two_faces, ".mkv"),
        (REGULAR_S, comes_and_goes, ".mp4"),
        (VARIABLE_S, comes_and_goes, ".mp4"),
        (REGULAR_S[:7], one_face, ".mp4"),
        (REGULAR_S[:1], one_face, ".mp4"),
    ],
    ids=[
        *("one", "one, in milliseconds", "one, variable", "two", "two, variable", "gaps"),
        *("gaps, variable", "short", "one frame"),
    ],
)
def test_a_video_has_the_rows_of_windows_built_separately(
    tmp_path: Path, times_s: list[float], who: Who, suffix: str, stride: int
) -> None:
    path, spec = film(tmp_path / f"film{suffix}", times_s), served(stride)
    timeline = rows_of(watched(path, who), spec)
    assert_same(timeline, built_anew(lambda: rows_of(watched(path, who), spec)))
    assert timeline.seen.any()


@st.composite
def some_moments(draw: st.DrawFn) -> list[Moment]:
    """Frames of all durations that begin at, or slightly off, the steps of a grid."""
    ticks = st.sampled_from([0, 1, 1, 1, 2, 3, 30])
    off_s = st.sampled_from([0, 0, -0.0005, 0.0005])
    durations = draw(st.lists(st.tuples(ticks, off_s), min_size=1, max_size=40))
    edges_s = [5.0]
    ends_s = 5.0
    for duration, off in durations:
        ends_s += duration / 16
        edges_s.append(max(edges_s[-1], ends_s + off))
    faces = st.sets(st.sampled_from([0, 3]), max_size=2) | st.just({0, 3}) | st.just({0, 3})
    return [
        Moment(
            start_s,
            end_s,
            tuple(
                Sighting(
                    track, Box(track, i, track + 8, i + 8), texture(i)[:24, track : track + 24]
                )
                for track in sorted(draw(faces))
            ),
        )
        for i, (start_s, end_s) in enumerate(itertools.pairwise(edges_s))
    ]


@settings(max_examples=40, deadline=None)
@given(some_moments(), st.integers(1, LENGTH))
def test_any_moments_give_the_rows_of_windows_built_separately(
    seen: list[Moment], stride: int
) -> None:
    spec = served(stride)
    assert_same(rows_of(seen, spec), built_anew(lambda: rows_of(seen, spec)))


def test_an_analyzer_gives_the_same_timeline_by_both(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", REGULAR_S)
    bundle = clip_bundle(
        tmp_path / "clip.onnx",
        sampling=Uniform(length=LENGTH),
        frame_weights=np.arange(LENGTH) / 15,
        rate_hz=RATE_HZ,
        window=served(2).window,
    )
    analyzer = Analyzer(bundle)
    timeline = analyzer.analyze(path)
    assert_same(timeline, built_anew(lambda: analyzer.analyze(path)))
    assert_same(Timeline.concatenate(analyzer.stream(read_frames(path))), timeline)


def calls_of_build_clip(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    real = window_inputs.build_clip

    def call(clip: Any, spec: Any) -> Any:
        calls.append(clip)
        return real(clip, spec)

    monkeypatch.setattr(window_inputs, "build_clip", call)
    return calls


def test_only_cut_windows_are_built_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of_build_clip(monkeypatch)
    seen = [scene(i / 16, (i + 1) / 16, {0: 50, 7: 20}) for i in range(64)]  # 4 s
    timeline = rows_of(seen, served(2))
    # Every 0.25 s until 3.25 s a window of 0.75 s is whole; two more have begun by 4 s.
    assert len(timeline) == 2 * 16
    assert len(calls) == 2 * 2


@pytest.mark.parametrize("comes", [4, 5, 6, 7])
def test_a_face_that_comes_between_two_strides_slides_from_the_next(
    monkeypatch: pytest.MonkeyPatch, comes: int
) -> None:
    """A face that appears at step `comes` of 32; strides of 4, windows of 6."""
    calls = calls_of_build_clip(monkeypatch)
    seen = [scene(i / 8, (i + 1) / 8, {0: 50} if i >= comes else {}) for i in range(32)]
    rows_of(seen, served(4))
    # Windows begin at 0, 4 ... 28: those it comes in, and the last, which the end cuts short.
    with_it = [start for start in range(0, 32, 4) if start + LENGTH > comes]
    assert len(calls) == sum(start < comes or start + LENGTH > 32 for start in with_it)


@pytest.mark.parametrize("stride", [1, 4])
def test_a_face_is_processed_once_per_step(monkeypatch: pytest.MonkeyPatch, stride: int) -> None:
    pushed: list[np.ndarray] = []
    real = ClipStream.push

    def push(self: ClipStream, frame: np.ndarray) -> Any:
        pushed.append(frame)
        return real(self, frame)

    monkeypatch.setattr(ClipStream, "push", push)
    faces = [scene(i / 16, (i + 1) / 16, {0: i}) for i in range(64)]
    rows_of(faces, served(stride))
    last = (32 - LENGTH) // stride * stride + LENGTH  # of 32 instants, those of whole windows
    expected = [moment.sightings[0].picture[0, 0, 0] for moment in faces[: 2 * last : 2]]
    assert [picture[0, 0, 0] for picture in pushed] == expected


def test_windows_of_other_specs_are_built_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of_build_clip(monkeypatch)
    seen = [scene(i / 16, (i + 1) / 16, {0: 50}) for i in range(64)]
    timeline = by_window(seen, clip_spec(rate_hz=8.0, sampling=Uniform(length=4)))
    assert brightness(timeline) == near(*[50] * 8)
    assert len(calls) == 8


def test_a_picture_that_begins_at_a_windows_end_belongs_to_the_next() -> None:
    """Matroska's clock may store it a millisecond earlier."""
    spec = clip_spec(stride_s=1.0, sampling=Last(length=3), rate_hz=4.0)
    timeline = by_window([scene(0.0, 0.9995, {0: 20}), scene(0.9995, 2.0, {0: 80})], spec)
    assert brightness(timeline) == near(20, 80)


def test_streams_of_faces_that_left_are_freed() -> None:
    """A new face every second, and a picture that is still for a minute."""
    inputs = window_inputs.WindowInputs(served(3))
    kept = []
    seen = [scene(i / 16, (i + 1) / 16, {i // 16: 50}) for i in range(160)]
    for index in range(24):
        start_s = index * 3 / RATE_HZ
        end_s = start_s + LENGTH / RATE_HZ
        inside = [m for m in seen if m.start_s < end_s and m.end_s > start_s]
        inputs.by_track(window_inputs.View(index, start_s, end_s, 0.0, True, inside))
        assert inputs._slides is not None
        kept.append(len(inputs._slides._streams))
    assert max(kept) == 1
