"""A voice model on sound: rows by the rule of windows, on made tones and on real speech."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from asking import ask, assert_one_line, names
from making import make_sound, make_video
from sounding import RATE_HZ, from_ravdess, semitones, silence, tone, write_wav
from tiny_bundles import (
    HIGHEST_SEMITONES,
    LABELS,
    answer,
    image_bundle,
    voice_bundle,
)

from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import load_bundle
from emoscope.analysis.voice import hearings
from emoscope.core.errors import MediaError, SpecError
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.media.clips import Clip, build_clip
from emoscope.media.sound.audio import Sound, read_sound
from emoscope.reports.formats import write_report

pytest.importorskip("opensmile")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It says how high the voice is, of windows of 1 s every 0.5 s."""
    return voice_bundle(tmp_path_factory.mktemp("voice") / "voice.onnx")


@pytest.fixture(scope="module")
def listening(model: Path) -> Analyzer:
    return Analyzer(model)


def of_pitch(hz: float) -> np.ndarray:
    return answer(semitones(hz) / HIGHEST_SEMITONES)


def near(*rows: np.ndarray) -> Any:
    return pytest.approx(np.array(rows), abs=0.01)


# Rows


def test_a_row_is_a_stride_of_one_voice_that_is_nowhere(
    listening: Analyzer, tmp_path: Path
) -> None:
    found = listening.analyze(write_wav(tmp_path / "a.wav", tone(220, 2.0)))
    assert found.spans_s.tolist() == [[0, 0.5], [0.5, 1], [1, 1.5], [1.5, 2]]
    assert found.track.tolist() == [0] * 4
    assert found.modalities.tolist() == ["voice"] * 4
    assert np.isnan(found.boxes_xyxy).all()
    assert found.probs == near(*[of_pitch(220)] * 4)
    assert not found.padded.any()
    assert (found.labels, found.provenance.notes) == (LABELS, ())


def test_a_row_is_the_mean_of_the_whole_windows_that_cover_it(
    listening: Analyzer, tmp_path: Path
) -> None:
    """Low for 1 s, high for 1.3 s: the windows at 0 and 1 s are of one pitch, that at 0.5 of two;
    those at 1.5 and 2 s are cut short, and count for the last stride alone."""
    sound = np.concatenate([tone(110, 1.0), tone(440, 1.3)])
    bundle, path = listening.bundle, write_wav(tmp_path / "a.wav", sound)
    parts = [sound[k * 8000 : k * 8000 + RATE_HZ] for k in range(5)]
    rows = [build_clip(Clip([], audio=part), bundle.clip_spec)["egemaps"] for part in parts]
    said = bundle.predict({"egemaps": np.stack(rows)}, prior="uniform")
    found = listening.analyze(path)
    expected = [said[0], said[:2].mean(0), said[1:3].mean(0), said[2], said[3:].mean(0)]
    np.testing.assert_allclose(found.probs, expected, atol=1e-4)  # a WAV has 16 bits
    assert abs(said[0] - said[1]).max() > 0.05
    assert found.spans_s[-1] == pytest.approx([2.0, 2.3])


def test_where_nothing_is_heard_nobody_is(listening: Analyzer, tmp_path: Path) -> None:
    """1 s of a tone, 2 s of silence, 1 s of a tone: the window at 0.5 s hears half a second."""
    sound = np.concatenate([tone(220, 1.0), silence(2.0), tone(220, 1.0)])
    found = listening.analyze(write_wav(tmp_path / "a.wav", sound))
    heard = np.array([True, True, True, False, False, True, True, True])
    assert found.track.tolist() == np.where(heard, 0, NO_TRACK).tolist()
    assert found.modalities.tolist() == np.where(heard, "voice", "").tolist()
    assert found.seen.tolist() == heard.tolist()


def test_sound_too_short_to_measure_is_one_row_of_nobody(
    listening: Analyzer, tmp_path: Path
) -> None:
    found = listening.analyze(write_wav(tmp_path / "a.wav", tone(220, 0.05)))
    assert found.spans_s.tolist() == [[0, 0.05]]
    assert (found.track.tolist(), found.tracks) == ([NO_TRACK], ())


def test_a_last_stride_too_short_to_measure_is_told_from_the_window_before(
    listening: Analyzer, tmp_path: Path
) -> None:
    found = listening.analyze(write_wav(tmp_path / "a.wav", tone(220, 1.52)))
    assert found.spans_s[-1] == pytest.approx([1.5, 1.52])
    assert found.probs == near(*[of_pitch(220)] * 4)


def test_a_span_is_read_at_its_own_times(listening: Analyzer, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.concatenate([tone(110, 2.0), tone(440, 2.0)]))
    found = listening.analyze(path, start_s=2.0, end_s=3.25)
    assert found.spans_s == pytest.approx(np.array([(2, 2.5), (2.5, 3), (3, 3.25)]))
    assert found.probs == near(*[of_pitch(440)] * 3)
    with pytest.raises(MediaError, match=r"the start \(9 s\) is past the end of its sound"):
        listening.analyze(path, start_s=9.0)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 1.0, 1.7, 2.1])
@pytest.mark.parametrize("stride_s", [0.5, 0.3, 1 / 3])
def test_moments_cover_the_sound_without_gap_or_overlap(seconds: float, stride_s: float) -> None:
    sound = Sound(silence(seconds), RATE_HZ, start_s=0.7)
    seen = list(hearings(sound, stride_s))
    assert (seen[0].start_s, seen[-1].end_s) == (0.7, sound.end_s)
    assert [m.start_s for m in seen[1:]] == [m.end_s for m in seen[:-1]]
    assert all(0 < m.end_s - m.start_s < stride_s + 1e-5 for m in seen)


def test_progress_rises_with_the_sound(listening: Analyzer, tmp_path: Path) -> None:
    told: list[float] = []
    listening.analyze(write_wav(tmp_path / "a.wav", tone(220, 1.2)), progress=told.append)
    assert told == pytest.approx([0.5, 1.0, 1.2])


# Files


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame")]
)
def test_sound_files_of_any_kind_are_heard(
    listening: Analyzer, tmp_path: Path, name: str, codec: str
) -> None:
    path = make_sound(tmp_path / name, codec=codec, rate_hz=44_100)
    found = listening.analyze(path)
    assert found.probs[:2] == near(*[of_pitch(440)] * 2)
    about = found.provenance
    assert (about.path, about.detector, about.rate_hz, about.width) == (str(path), "", None, 0)
    assert about.duration_s == pytest.approx(1.0, abs=0.05)
    assert np.isnan(about.fps)


def test_a_film_is_heard_and_says_what_it_is(listening: Analyzer, tmp_path: Path) -> None:
    path = make_video(tmp_path / "film.mp4", num_frames=25, sound_s=1.0)
    found = listening.analyze(path)
    assert found.probs[:2] == near(*[of_pitch(440)] * 2)
    assert (found.provenance.width, found.provenance.fps) == (64, 25.0)


def test_a_film_without_sound_is_nobody_for_as_long_as_it_is_and_says_so(
    listening: Analyzer, tmp_path: Path
) -> None:
    path = make_video(tmp_path / "silent.mp4", num_frames=50)
    for start_s, end_s in ((0.0, 2.0), (0.5, 1.2)):
        found = listening.analyze(path, start_s=start_s, end_s=None if end_s == 2.0 else end_s)
        assert (found.spans_s[0, 0], found.spans_s[-1, 1]) == pytest.approx((start_s, end_s))
        assert np.isnan(found.probs).all()
        assert not found.seen.any()
        assert found.provenance.notes == ("the file has no sound: nobody is heard",)
        assert found.provenance.duration_s == pytest.approx(2.0)
    with pytest.raises(MediaError, match=r"silent.mp4: the file has no sound"):
        listening.analyze(path, start_s=2.5)


def test_a_picture_has_no_sound_to_be_silent_in(listening: Analyzer, tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    cv2.imwrite(str(path), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(MediaError, match=r"still.png: the file has no sound"):
        listening.analyze(path)


def test_frames_cannot_be_listened_to(listening: Analyzer) -> None:
    with pytest.raises(SpecError, match="tiny listens, and frames are silent"):
        next(listening.stream([]))


# The bundle


def test_a_model_is_not_asked_about_nan(model: Path) -> None:
    asked: list[np.ndarray] = []
    bundle = load_bundle(model)

    def run(inputs: Any) -> np.ndarray:
        asked.append(inputs["egemaps"])
        return np.zeros((len(inputs["egemaps"]), 3))

    watched = type(bundle)(bundle.card, bundle.path, bundle.backend, run)
    vectors = np.ones((4, 88), np.float32)
    vectors[1, 5], vectors[3] = np.nan, np.nan
    probs = watched.predict({"egemaps": vectors})
    assert np.isnan(probs).all(axis=1).tolist() == [False, True, False, True]
    assert probs[0] == pytest.approx([1 / 3] * 3)
    assert [rows.tolist() for rows in asked] == [np.ones((2, 88)).tolist()]
    assert np.isnan(watched.predict({"egemaps": vectors[[1, 3]]})).all()
    assert len(asked) == 1


def test_both_backends_take_vectors(model: Path) -> None:
    pytest.importorskip("openvino")
    vectors = {"egemaps": np.random.default_rng(0).normal(30, 10, (3, 88)).astype(np.float32)}
    one, other = (load_bundle(model, name).predict(vectors) for name in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(one, other, atol=1e-5)


# Reports and the command line


@pytest.fixture
def heard(listening: Analyzer, tmp_path: Path) -> tuple[Timeline, Path]:
    """A film of two seconds, in the first of which there is a tone."""
    path = make_video(tmp_path / "film.mp4", num_frames=50, sound_s=1.0)
    timeline = listening.analyze(path)
    assert timeline.track[:2].tolist() == [0, 0]
    return timeline, path


def test_every_report_holds_a_voice(heard: tuple[Timeline, Path], tmp_path: Path) -> None:
    timeline, path = heard
    formats = ["json", "csv", "parquet", "html", "mp4"]
    assert len(write_report(timeline, tmp_path / "out", formats, video=path)) == 5
    first = json.loads((tmp_path / "out" / "film.json").read_text())["rows"][0]
    assert (first["track"], first["modalities"]) == (0, "voice")
    with (tmp_path / "out" / "film.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (row["track"], row["FaceRectX"], row["modalities"]) == ("0", "", "voice")
    assert "NaN" not in (tmp_path / "out" / "film.html").read_text().split("<script")[-1]


def test_the_command_line_hears_all_that_a_folder_holds(model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_wav(folder / "a.wav", tone(220, 1.0))
    make_sound(folder / "b.flac", codec="flac")
    make_video(folder / "c.mp4", num_frames=12, sound_s=1.0)
    write_wav(folder / "d.wav", silence(1.0))
    ran = ask("analyze", folder, "--model", model, "--out", out, "--format", "json,html")
    assert ran.exit_code == 0
    assert names(out) == [f"{stem}.{suffix}" for stem in "abcd" for suffix in ("html", "json")]
    assert f"{folder / 'a.wav'}: 1 voice; #0 " in ran.stderr
    assert f"{folder / 'd.wav'}: no voice heard" in ran.stderr
    assert "face" not in ran.stderr


def test_a_face_model_passes_over_the_sound_files_of_a_folder(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(220, 1.0))
    model = image_bundle(tmp_path / "image.onnx")
    folder = tmp_path / "in"
    folder.mkdir()
    write_wav(folder / "a.wav", tone(220, 0.1))
    ran = ask("analyze", folder, "--model", model)
    assert_one_line(ran, folder, "the folder holds no video and no image")


def test_a_folder_without_recordings_is_named(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").touch()
    ran = ask("analyze", folder, "--model", model)
    assert_one_line(ran, folder, "the folder holds no video and no sound")


def test_a_film_of_a_sound_file_cannot_be_made(model: Path, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(220, 0.5))
    ran = ask("analyze", path, "--model", model, "--out", tmp_path / "out", "--format", "json,mp4")
    assert_one_line(ran, path, "the file has sound but no picture. Give one with a video track.")
    assert names(tmp_path / "out") == ["a.json"]


# Real speech


@pytest.mark.data
def test_speech_is_heard_window_by_window(
    listening: Analyzer, shared: Path, tmp_path: Path
) -> None:
    path = from_ravdess(shared, "03-01-05-02-01-01-17", tmp_path)
    sound, found = read_sound(path), listening.analyze(path)
    assert found.spans_s[-1, 1] == pytest.approx(sound.end_s)
    assert found.seen.sum() >= 5
    second = Clip([], audio=sound.samples[:RATE_HZ])
    inputs = build_clip(second, listening.bundle.clip_spec)["egemaps"]
    expected = listening.bundle.predict({"egemaps": inputs[None]}, prior="uniform")[0]
    np.testing.assert_allclose(found.probs[0], expected, atol=1e-6)


@pytest.mark.data
def test_a_real_film_is_heard_to_the_end_of_its_sound(listening: Analyzer, shared: Path) -> None:
    """Its picture goes on for 2.4 s more."""
    found = listening.analyze(shared / "clips" / "pyfeat_noface_face.mov")
    assert found.spans_s[-1, 1] == pytest.approx(3.965, abs=0.01)
    assert found.provenance.duration_s == pytest.approx(6.379, abs=0.01)
    assert found.seen.mean() > 0.5
