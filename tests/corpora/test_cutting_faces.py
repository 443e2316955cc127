"""Detection in every frame, as in a paper, and sequences that are too short."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import grey_picture, make_image, make_sound, make_video, number_in
from preparing import clips_in, ready, spec_of

from emoscope.core.clipspec import ClipSpec, Last, Stream, Vector
from emoscope.core.errors import MediaError, SpecError
from emoscope.core.results import Box
from emoscope.corpora import cutting
from emoscope.corpora.cutting import Cutting
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import Counts, Prepared
from emoscope.media.clips import finish
from emoscope.media.detectors import create_detector
from emoscope.media.detectors.base import Detection
from emoscope.media.people.tracking import TrackedFace

SPEC = spec_of("gray", region="face", sampling=Last(length=3))


class Missing:
    """A detector that finds the left half of the picture, except in these frames; in odd frames it
    also finds a smaller face with a higher score."""

    def __init__(self, missed: Sequence[int] = ()) -> None:
        self.missed, self.looks = missed, 0

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        self.looks += 1
        number = number_in(rgb)
        if number in self.missed:
            return []
        small = [Detection(Box(40, 0, 50, 10), 1.0)] if number % 2 else []
        return [*small, Detection(Box(0, 0, 32, 32), 0.8)]


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace every detector by one of the test."""

    def put(detector: Missing) -> Missing:
        monkeypatch.setattr(cutting, "_detector", lambda _: detector)
        return detector

    return put


class Leaving:
    """A replacement of FaceTracker that sees a face for four frames."""

    def __init__(self, _: Any) -> None:
        pass

    def update(self, rgb: np.ndarray, _: float) -> list[TrackedFace]:
        seen = number_in(rgb) < 4
        return [TrackedFace(0, Box(0, 0, 32, 32), None, 1.0)] if seen else []


def film(path: Path, num_frames: int = 8, label: str = "joy") -> Sample:
    """Frame i shows its number in its left half; the right half is black."""

    def picture(index: int) -> Any:
        rgb = grey_picture(index)
        rgb[:, 40:] = 0
        return rgb

    make_video(path, num_frames=num_frames, picture=picture, options={"qp": "0"})
    return Sample(path, label)


def prepared(samples: list[Sample], cache: Path, **how: Any) -> Prepared:
    return ready(samples, SPEC, cache, detector="haar", **{"faces": "every-frame", **how})


def reasons(result: Prepared) -> list[str]:
    return [failure.reason for failure in result.failures]


def test_every_frame_is_searched_and_its_largest_face_cut_out(tmp_path: Path, looking: Any) -> None:
    detector, sample = looking(Missing()), film(tmp_path / "a.mp4")
    result = prepared([sample], tmp_path / "cache", whole=True)
    assert detector.looks == 8
    pictures = result.load(sample).pictures[16, 12]
    assert [number_in(picture) for picture in pictures] == list(range(8))
    assert result.report == {"joy": Counts(clips=1, frames=8)}


def test_a_sequence_with_one_miss_is_left_out_and_its_misses_counted(
    tmp_path: Path, looking: Any
) -> None:
    looking(Missing([5, 9]))
    sizes = {"a.mp4": (5, "joy"), "b.mp4": (6, "joy"), "c.mp4": (12, "fear")}
    samples = [film(tmp_path / name, *size) for name, size in sizes.items()]
    result = prepared(samples, tmp_path / "cache")
    assert result.samples == (samples[0],)
    assert reasons(result) == ["a frame without a face"] * 2
    assert result.report == {
        "fear": Counts(clips=1, frames=12, without_face=2),
        "joy": Counts(clips=2, frames=11, without_face=1),
    }
    assert list(result.report_lines())[-3:] == [
        "3 of 23 frames without a face",
        "fear: 2 of 12 frames without a face",
        "joy: 1 of 11 frames without a face",
    ]
    assert prepared(samples, tmp_path / "cache").report == result.report  # as it is remembered


def test_a_sequence_without_any_face_has_a_reason_of_its_own(tmp_path: Path, looking: Any) -> None:
    looking(Missing(range(8)))
    result = prepared([film(tmp_path / "a.mp4")], tmp_path / "cache")
    assert reasons(result) == ["no face seen"]
    assert result.report["joy"] == Counts(clips=1, faceless_clips=1, frames=8, without_face=8)


def test_a_tracked_face_may_leave_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "FaceTracker", Leaving)
    sample = film(tmp_path / "a.mp4")
    result = prepared([sample], tmp_path / "cache", faces="follow", whole=True)
    assert len(result.load(sample)) == 4
    assert result.report["joy"] == Counts(clips=1, frames=8, without_face=4)


def test_ways_to_find_faces_have_clips_of_their_own(tmp_path: Path, looking: Any) -> None:
    looking(Missing())
    sample, cache = film(tmp_path / "a.mp4"), tmp_path / "cache"
    for how in ({"faces": "follow"}, {}, {"min_frames": 3}, {"min_frames": 4}):
        before = len(clips_in(cache))
        prepared([sample], cache, **how)
        assert len(clips_in(cache)) == before + 1
    whole_frames = ready([sample], spec_of("gray"), cache)
    before = len(clips_in(cache))
    again = ready([sample], spec_of("gray"), cache, faces="every-frame")
    assert len(clips_in(cache)) == before, "`faces` does not matter where no face is detected"
    assert again.samples == whole_frames.samples


def test_an_unknown_way_to_find_faces_is_refused() -> None:
    with pytest.raises(SpecError, match="faces must be follow or every-frame, not 'each'"):
        Cutting(SPEC, faces="each")  # type: ignore[arg-type]


# Sequences that are too short


def test_shorter_sequences_are_left_out_and_none_of_their_frames_counted(
    tmp_path: Path, looking: Any
) -> None:
    looking(Missing([2, 6]))
    samples = [film(tmp_path / f"{n}.mp4", n) for n in (1, 4, 5, 7)]
    result = prepared(samples, tmp_path / "cache", min_frames=5)
    assert reasons(result) == [*["fewer than 5 frames"] * 2, *["a frame without a face"] * 2]
    assert result.report["joy"] == Counts(clips=4, frames=12, without_face=3)
    looking(Missing())
    again = prepared(samples, tmp_path / "again", min_frames=5)
    assert again.samples == tuple(samples[2:])


def test_without_a_minimum_length_the_rule_pads(tmp_path: Path, looking: Any) -> None:
    looking(Missing())
    sample = film(tmp_path / "a.mp4", 1)
    result = prepared([sample], tmp_path / "cache")
    clip = finish(result.load(sample), SPEC)["gray"]
    assert clip.shape == (3, 1, 16, 12)
    assert (clip == clip[0]).all()


def test_frames_without_the_face_do_not_make_a_sequence_long_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "FaceTracker", Leaving)
    sample = film(tmp_path / "a.mp4", 8)
    follow = {"faces": "follow"}
    assert prepared([sample], tmp_path / "cache", min_frames=4, **follow).failures == ()
    result = prepared([sample], tmp_path / "cache", min_frames=5, **follow)
    assert reasons(result) == ["a face in fewer than 5 frames"]
    assert result.report["joy"] == Counts(clips=1, frames=8, without_face=4)


def test_the_frames_that_count_are_those_on_the_time_grid(tmp_path: Path, looking: Any) -> None:
    """20 frames at 25 Hz are 8 at 10 Hz."""
    looking(Missing())
    sample = film(tmp_path / "a.mp4", 20)
    spec = spec_of("gray", region="face", rate_hz=10.0)
    for least, usable in ((8, True), (9, False)):
        result = ready([sample], spec, tmp_path / "cache", detector="haar", min_frames=least)
        assert bool(result.samples) is usable


def test_a_still_is_a_sequence_of_one_frame(tmp_path: Path) -> None:
    sample = Sample(make_image(tmp_path / "a.png"), "joy")
    for least, expected in ((1, []), (2, ["fewer than 2 frames"]), (2, ["fewer than 2 frames"])):
        result = ready([sample], spec_of("gray"), tmp_path / "cache", min_frames=least)
        assert reasons(result) == expected


def test_sound_alone_has_no_frames_to_count(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    sample = Sample(make_sound(tmp_path / "tone.m4a"), "joy")
    spec = ClipSpec(streams=(Vector(kind="egemaps"),))
    assert ready([sample], spec, tmp_path / "cache", min_frames=15).samples == (sample,)


@pytest.mark.data
def test_the_papers_detector_finds_a_face_in_every_frame_or_leaves_the_clip_out(
    shared: Path, tmp_path: Path
) -> None:
    spec = ClipSpec(
        region="face", sampling=Last(length=5), streams=(Stream(kind="rgb", size_hw=(170, 170)),)
    )
    try:
        create_detector("lbp")
    except MediaError as error:
        pytest.skip(str(error))
    frontal = Sample(shared / "clips" / "pyfeat_single_face.mp4", "joy", end_s=1.0)
    appearing = Sample(shared / "clips" / "pyfeat_noface_face.mov", "fear", start_s=3.5, end_s=4.5)
    how = {"detector": "lbp", "faces": "every-frame"}
    result = ready([frontal, appearing], spec, tmp_path, **how)
    assert result.samples == (frontal,)
    assert reasons(result) == ["a frame without a face"]
    counts = result.report["fear"]
    assert 0 < counts.without_face < counts.frames
    assert result.report["joy"].without_face == 0
