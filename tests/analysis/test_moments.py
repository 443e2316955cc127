"""Kinds 6 and 7 of issue 18: what a frame stands for, and the pixels of its boxes."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from making import grey_picture, make_joined, make_truncated, make_video
from tiny_bundles import clip_bundle, image_bundle

from emoscope import Analyzer, Timeline
from emoscope.analysis.moments import Moment, moments
from emoscope.core.clipspec import ClipSpec, Stream, Uniform
from emoscope.media.detectors.whole_frame import WholeFrame
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.reading.decoding import Grid
from emoscope.media.video import Frame

SPEC = ClipSpec(
    region="frame", sampling=Uniform(length=1), streams=(Stream(kind="gray", size_hw=(16, 16)),)
)


def made(
    times_s: Iterable[float], duration_s: float = 0.0, rate_hz: float | None = None
) -> list[Moment]:
    frames = (Frame(grey_picture(0), time_s, i, duration_s) for i, time_s in enumerate(times_s))
    return list(moments(frames, SPEC, FaceTracker(WholeFrame()), rate_hz=rate_hz))


def gaps(seen: list[Moment]) -> list[tuple[float, float]]:
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(seen))
    assert all(bool(moment.sightings) != moment.is_gap for moment in seen)
    return [(round(m.start_s, 6), round(m.end_s, 6)) for m in seen if m.is_gap]


@pytest.mark.parametrize(
    ("duration_s", "rate_hz", "lasts_s"),
    [
        (0.04, 10.0, 0.15),  # 1.5 steps of the rate
        (0.04, None, 0.06),  # 1.5 frames
        (0.0, None, 0.15),  # 1.5 times the usual distance
        (60.0, 10.0, None),  # the file says that the frame is shown so long
    ],
)
def test_a_gap_is_not_part_of_the_moment_before_it(
    duration_s: float, rate_hz: float | None, lasts_s: float | None
) -> None:
    step_s = 0.04 if (duration_s, rate_hz) == (0.04, None) else 0.1
    times_s = [k * step_s for k in range(10)]
    last_s = times_s[-1]
    seen = made([*times_s, last_s + 60, last_s + 60 + step_s], duration_s, rate_hz)
    expected = [] if lasts_s is None else [(last_s + lasts_s, last_s + 60)]
    np.testing.assert_allclose(np.reshape(gaps(seen), (-1, 2)), np.reshape(expected, (-1, 2)))


@pytest.mark.parametrize("fps", [5, 7, 10, 12, 15, 24, 25, 29.97, 30, 50, 60])
@pytest.mark.parametrize("rate_hz", [None, 4.0, 10.0])
@pytest.mark.parametrize("states_duration", [True, False])
def test_regular_video_has_no_gaps(
    tmp_path: Path, fps: float, rate_hz: float | None, states_duration: bool
) -> None:

    grid = Grid(rate_hz)
    times_s = [k / fps for k in range(90) if grid.takes(k / fps)]
    assert gaps(made(times_s, 1 / fps if states_duration else 0.0, rate_hz)) == []


def test_a_webcam_that_is_slower_than_its_nominal_rate_has_no_gaps() -> None:
    """Containers fill in the nominal duration; only the first distance is unknown."""
    assert len(gaps(made([k / 11 for k in range(50)], 1 / 30))) <= 1


def test_boxes_are_scaled_by_each_frames_own_size() -> None:
    """One scale served the whole film, also after its size had changed."""
    frames = [
        Frame(grey_picture(0, (64, 48)), 0.0, 0, 0.04, scale=2.0),
        Frame(grey_picture(1, (32, 24)), 0.04, 1, 0.04, scale=1.0),
    ]
    seen = list(moments(frames, SPEC, FaceTracker(WholeFrame())))
    boxes = [tuple(moment.sightings[0].box) for moment in seen]
    assert boxes == [(0, 0, 128, 96), (0, 0, 32, 24)]


# Whole recordings


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Analyzer:
    path = image_bundle(tmp_path_factory.mktemp("bundle") / "image.onnx")
    return Analyzer(path, detector="none", smooth_s=0)


@pytest.fixture(scope="module")
def in_windows(tmp_path_factory: pytest.TempPathFactory) -> Analyzer:
    path = clip_bundle(tmp_path_factory.mktemp("bundle") / "clip.onnx")
    return Analyzer(path, detector="none")


def seen_s(timeline: Timeline) -> float:
    return float(np.diff(timeline.spans_s[timeline.track >= 0], axis=1).sum())


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".flv"])
@pytest.mark.parametrize("gap_s", [60.0, 3600.0])
def test_a_gap_is_one_row_without_a_face(
    looking: Analyzer, tmp_path: Path, suffix: str, gap_s: float
) -> None:
    """Two seconds and a gap were "seen 62 s"."""
    times_s = [*(k / 25 for k in range(25)), *(1 + gap_s + k / 25 for k in range(25))]
    timeline = looking.analyze(make_video(tmp_path / f"gap{suffix}", times_s=times_s))
    nobody = timeline.rows(timeline.track < 0)
    assert len(nobody) == 1
    assert nobody.spans_s[0] == pytest.approx([0.92 + 0.15, 1 + gap_s], abs=2e-3)
    assert seen_s(timeline) == pytest.approx(2.07, abs=0.01)


@pytest.mark.parametrize("gap_s", [60.0, 3600.0])
def test_windows_in_a_gap_are_few_rows(in_windows: Analyzer, tmp_path: Path, gap_s: float) -> None:
    times_s = [*(k / 25 for k in range(50)), *(2 + gap_s + k / 25 for k in range(50))]
    timeline = in_windows.analyze(make_video(tmp_path / "gap.mkv", times_s=times_s))
    assert (timeline.track < 0).sum() <= 5
    assert seen_s(timeline) == pytest.approx(4, abs=1.1)
    np.testing.assert_allclose(timeline.spans_s[1:, 0], timeline.spans_s[:-1, 1], atol=1e-6)
    assert timeline.spans_s[-1, 1] == pytest.approx(4 + gap_s, abs=0.05)
    alone = in_windows.analyze(make_video(tmp_path / "alone.mkv", num_frames=50))
    assert timeline.probs[0] == pytest.approx(alone.probs[0])


@pytest.mark.parametrize("suffix", [".ts", ".flv"])
def test_a_joined_recording_is_analysed_whole(
    looking: Analyzer, tmp_path: Path, suffix: str
) -> None:
    """8.04 s were told as 5.99."""
    one = make_video(tmp_path / f"one{suffix}", num_frames=100)
    timeline = looking.analyze(make_joined(tmp_path / f"joined{suffix}", one, one))
    assert seen_s(timeline) == pytest.approx(8.0, abs=0.1)
    assert timeline.spans_s[-1, 1] == pytest.approx(8.0, abs=0.1)
    assert timeline.provenance.duration_s == pytest.approx(8.0, abs=0.1)
    (note,) = timeline.provenance.notes
    assert note.startswith("the file's clock restarts at 4.00 s")


def test_a_film_that_is_cut_off_has_a_note(looking: Analyzer, tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mkv", num_frames=100, options={"g": "10"})
    assert looking.analyze(whole).provenance.notes == ()
    cut = looking.analyze(make_truncated(whole, tmp_path / "cut.mkv", 0.6))
    (note,) = cut.provenance.notes
    assert note.startswith("the picture ends at ")
    assert note.endswith(" of 4.00 s: the file is cut off or damaged")
