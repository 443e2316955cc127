"""The frames and the person that are kept of a recording."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import make_image_folder, make_sound, make_video
from preparing import built, copies, ready, spec_of
from sounding import silence, write_wav

from emoscope.core.clipspec import (
    ClipSpec,
    Last,
    LogMel,
    Normalisation,
    Offsets,
    Sampling,
    Stream,
    Uniform,
    Vector,
)
from emoscope.core.errors import MediaError
from emoscope.core.results import Box
from emoscope.corpora import cutting
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import Counts
from emoscope.media.clips import Clip, build_clip, finish
from emoscope.media.people.crops import crop_face
from emoscope.media.people.sightings import Sighting
from emoscope.media.sound.audio import read_sound
from emoscope.media.sound.logmel import FLOOR_DB, log_mel
from emoscope.media.video import read_frames

RULES: tuple[Sampling, ...] = (
    Uniform(length=5),
    Uniform(length=40),
    Last(length=3),
    Offsets(offsets=(2, -1, -9, 5)),
)


@pytest.mark.parametrize("sampling", RULES, ids=lambda rule: f"{rule.rule}-{rule.length}")
@pytest.mark.parametrize("rate_hz", [None, 10.0])
def test_a_prepared_clip_equals_the_built_clip_exactly(
    film: Path, tmp_path: Path, sampling: Sampling, rate_hz: float | None
) -> None:
    streams = (
        Stream(kind="rgb", size_hw=(16, 12)),
        Stream(kind="gray", size_hw=(8, 8), normalisation=Normalisation(per_clip=True)),
        Stream(kind="dynamic_rgb", size_hw=(60, 80)),
    )
    spec = ClipSpec(region="frame", sampling=sampling, rate_hz=rate_hz, streams=streams)
    sample = Sample(film, "joy", start_s=0.1, end_s=0.7)
    loaded = finish(ready([sample], spec, tmp_path).load(sample), spec)
    for name, values in built(sample, spec).items():
        np.testing.assert_array_equal(loaded[name], values)


def test_flow_is_kept_to_half_precision(film: Path, tmp_path: Path) -> None:
    spec, sample = spec_of("flow", "rgb", "dynamic_flow"), Sample(film, "joy")
    material = ready([sample], spec, tmp_path).load(sample)
    loaded, whole = finish(material, spec), built(sample, spec)
    assert material.flow[16, 12].dtype == np.float32
    np.testing.assert_allclose(loaded["flow"], whole["flow"], rtol=1e-3, atol=1e-4)
    assert np.abs(whole["flow"]).max() > 0.1
    assert not np.array_equal(loaded["flow"], whole["flow"])
    np.testing.assert_array_equal(loaded["rgb"], whole["rgb"])


@pytest.mark.parametrize("jitter", [False, True])
def test_whole_clips_and_clips_with_jitter_keep_every_frame_and_no_flow(
    film: Path, tmp_path: Path, jitter: bool
) -> None:
    spec = spec_of("flow", sampling=Uniform(length=4, jitter=jitter), rate_hz=50 / 4)
    sample = Sample(film, "joy")
    material = ready([sample], spec, tmp_path, whole=not jitter).load(sample)
    assert len(material) == 10  # every other one of 20
    assert not material.flow
    np.testing.assert_array_equal(
        finish(material.take(np.array([1, 3, 6, 8])), spec)["flow"], built(sample, spec)["flow"]
    )


def test_without_a_detector_the_frame_is_the_face(film: Path, tmp_path: Path) -> None:
    spec = spec_of(region="face", margin=0.1, sampling=Last(length=1))
    sample = Sample(film, "joy")
    last = list(read_frames(film))[-1].rgb
    crop = crop_face(last, Box(0, 0, 64, 48), margin=0.1)
    expected = build_clip(Clip([crop]), spec)["rgb"]
    loaded = finish(ready([sample], spec, tmp_path).load(sample), spec)["rgb"]
    np.testing.assert_array_equal(loaded, expected)


def test_sound_is_kept_as_its_vector(film: Path, tmp_path: Path) -> None:
    both = ClipSpec(
        region="frame",
        sampling=Last(length=2),
        streams=(Stream(kind="rgb", size_hw=(8, 8)), Vector(kind="egemaps")),
    )
    alone = ClipSpec(streams=(Vector(kind="egemaps"),))
    sound = Sample(make_sound(tmp_path / "tone.m4a"), "joy")
    for spec, samples in ((both, [Sample(film, "joy")]), (alone, [Sample(film, "joy"), sound])):
        prepared = ready(samples, spec, tmp_path / "cache")
        assert prepared.failures == ()
        for sample in samples:
            values = finish(prepared.load(sample), spec)["egemaps"]
            assert values.shape == (88,)
            assert np.isfinite(values).all()
            assert np.any(values)


def seen_and_heard(*streams: Any) -> ClipSpec:
    """The last 0.4 s: five frames, and the sound beside them."""
    return ClipSpec(
        region="frame",
        sampling=Last(length=5),
        rate_hz=12.5,
        streams=(*streams, LogMel(length_s=0.4, mels=20)),
    )


GRAY = Stream(kind="gray", size_hw=(8, 8))


def test_logmel_ends_with_the_last_picture(film: Path, tmp_path: Path) -> None:
    """The film has 0.8 s of pictures, and a second of sound."""
    spec = seen_and_heard(GRAY)
    kept = ready([Sample(film, "joy")], spec, tmp_path).load(Sample(film, "joy"))
    sound = read_sound(film).between(0.0, 0.8)
    assert len(read_sound(film).samples) > 15_000
    np.testing.assert_array_equal(kept.vectors["logmel"], log_mel(sound, 16_000, 40, 20))
    assert len(kept) == 5


def test_sound_that_ends_before_the_pictures_is_followed_by_silence(tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", num_frames=20, sound_s=0.6)
    kept = ready([Sample(film, "joy")], seen_and_heard(GRAY), tmp_path).load(Sample(film, "joy"))
    levels = kept.vectors["logmel"].max(axis=1)
    assert (levels[:15] > -40).all()  # a tone from 0.4 s on
    assert (levels[-10:] == FLOOR_DB).all()


def test_without_a_sound_track_pictures_are_kept_and_sound_alone_is_left_out(
    tmp_path: Path,
) -> None:
    silent = Sample(make_video(tmp_path / "silent.mp4", num_frames=10), "joy")
    prepared = ready([silent], seen_and_heard(GRAY), tmp_path / "cache")
    assert (prepared.load(silent).vectors["logmel"] == FLOOR_DB).all()
    alone = ClipSpec(streams=(LogMel(length_s=0.4),))
    with_features = seen_and_heard(GRAY, Vector(kind="egemaps"))
    quiet = Sample(write_wav(tmp_path / "quiet.wav", silence(0.5)), "joy")
    for sample, spec, reason in (
        (silent, alone, "the file has no sound"),
        (silent, with_features, "the file has no sound"),
        (quiet, alone, "the audio track is silent"),
    ):
        (failure,) = ready([sample], spec, tmp_path / "cache").failures
        assert failure.reason == reason


def test_a_damaged_sound_track_is_not_treated_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_video(tmp_path / "film.mp4", num_frames=10, sound_s=0.4)

    def damaged(*_: Any, **__: Any) -> Any:
        raise MediaError(f"{film}: nothing of its sound can be decoded. Check that it is complete.")

    monkeypatch.setattr(cutting, "read_sound", damaged)
    (failure,) = ready([Sample(film, "joy")], seen_and_heard(GRAY), tmp_path).failures
    assert failure.reason == "nothing of its sound can be decoded"


def test_a_folder_of_pictures_runs_at_its_own_rate(tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "images", num_images=12)
    spec = spec_of("gray", sampling=Last(length=3), rate_hz=5)
    levels = {}
    for fps in (10, 5):
        sample = Sample(folder, "joy", fps=fps)
        pictures = ready([sample], spec, tmp_path / "cache").load(sample).pictures[16, 12]
        levels[fps] = [int(picture[0, 0, 0]) // 10 - 1 for picture in pictures]
    assert levels == {10: [6, 8, 10], 5: [9, 10, 11]}


# Who is followed


def people(script: dict[int, list[tuple[int, float]]]) -> Any:
    """Sightings by frame: (track, side of the face); the picture's level is the track."""

    def fake(frame: Any, *_: Any) -> Iterator[Sighting]:
        for track, side in script.get(frame.index, []):
            picture = np.full((9, 9, 3), track, np.uint8)
            yield Sighting(track, Box(0, 0, side, side), picture)

    return fake


@pytest.mark.parametrize(
    ("script", "chosen", "missed"),
    [
        ({3: [(0, 50.0)], 4: [(0, 50.0), (1, 5.0)], 5: [(1, 5.0)], 9: [(1, 5.0)]}, 1, 17),
        ({3: [(0, 50.0), (1, 60.0)], 4: [(0, 50.0), (1, 60.0)]}, 1, 18),
        ({3: [(7, 70.0), (8, 60.0)], 4: [(7, 70.0), (8, 60.0)]}, 7, 18),
    ],
    ids=["seen longest", "then largest", "then largest, the other way"],
)
def test_one_of_several_people_is_followed(
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: Any,
    chosen: int,
    missed: int,
) -> None:
    monkeypatch.setattr(cutting, "sightings", people(script))
    sample = Sample(film, "joy")
    prepared = ready([sample], spec_of(region="face"), tmp_path, detector="haar", whole=True)
    pictures = prepared.load(sample).pictures[16, 12]
    assert len(pictures) == 20 - missed
    assert (pictures == chosen).all()
    assert prepared.report == {"joy": Counts(clips=1, frames=20, without_face=missed)}


def test_frames_without_the_face_are_counted_by_label(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = copies(film, tmp_path / "films", 3)  # fear, joy, fear
    seen = people({i: [(0, 9.0)] for i in range(5, 20)})
    monkeypatch.setattr(cutting, "sightings", seen)
    ready(samples[:2], spec_of(region="face"), tmp_path / "cache", detector="haar")
    monkeypatch.setattr(cutting, "sightings", people({}))
    prepared = ready(samples, spec_of(region="face"), tmp_path / "cache", detector="haar")
    assert prepared.samples == tuple(samples[:2])
    assert [(f.path, f.label, f.reason) for f in prepared.failures] == [
        (samples[2].path, "fear", "no face seen")
    ]
    assert prepared.report == {
        "fear": Counts(clips=2, faceless_clips=1, frames=40, without_face=25),
        "joy": Counts(clips=1, frames=20, without_face=5),
    }
    assert list(prepared.report_lines()) == [
        "usable: 2 of 3 samples",
        "left out, no face seen: 1",
        f"  {samples[2].path}",
        "no face in 1 of 3 clips, tracked face missing in 30 of 60 frames",
        "fear: no face in 1 of 2 clips, tracked face missing in 25 of 40 frames",
        "joy: no face in 0 of 1 clips, tracked face missing in 5 of 20 frames",
    ]


@pytest.mark.data
def test_training_sees_the_faces_that_analysis_sees(shared: Path, tmp_path: Path) -> None:
    from emoscope.analysis.moments import moments
    from emoscope.media.detectors import create_detector
    from emoscope.media.people.tracking import FaceTracker

    clip = shared / "clips" / "pyfeat_single_face.mp4"
    spec = spec_of("rgb", region="face", margin=0.2, sampling=Uniform(length=8))
    sample = Sample(clip, "joy", end_s=1.0)
    frames = read_frames(clip, end_s=1.0, max_side=1280)
    seen = list(moments(frames, spec, FaceTracker(create_detector("haar"))))
    faces = [(m.start_s, m.sightings[0].picture) for m in seen if m.sightings]
    expected = build_clip(Clip([p for _, p in faces], [t for t, _ in faces]), spec)
    prepared = ready([sample], spec, tmp_path, detector="haar")
    assert len(faces) > 20
    np.testing.assert_array_equal(
        finish(prepared.load(sample), spec)["rgb"], expected["rgb"], strict=True
    )
    assert prepared.report["joy"].frames == len(seen)
