"""A voice model: rows of sliding windows, on tones and on real speech."""

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
from emoscope.analysis.voice import hearings, sound_or_silence
from emoscope.core.errors import MediaError, SpecError
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.media.clips import Clip, build_clip
from emoscope.media.sound.audio import Sound, read_sound
from emoscope.media.video import ReadLog
from emoscope.reports.formats import write_report

pytest.importorskip("opensmile")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the pitch in windows of 1 s every 0.5 s."""
    return voice_bundle(tmp_path_factory.mktemp("voice") / "voice.onnx")


@pytest.fixture(scope="module")
def listening(model: Path) -> Analyzer:
    return Analyzer(model)


def of_pitch(hz: float) -> np.ndarray:
    return answer(semitones(hz) / HIGHEST_SEMITONES)


def near(*rows: np.ndarray) -> Any:
    return pytest.approx(np.array(rows), abs=0.01)


# Rows


def test_a_row_is_a_stride_of_one_voice_without_a_box(listening: Analyzer, tmp_path: Path) -> None:
    timeline = listening.analyze(write_wav(tmp_path / "a.wav", tone(220, 2.0)))
    assert timeline.spans_s.tolist() == [[0, 0.5], [0.5, 1], [1, 1.5], [1.5, 2]]
    assert timeline.track.tolist() == [0] * 4
    assert timeline.modalities.tolist() == ["voice"] * 4
    assert np.isnan(timeline.boxes_xyxy).all()
    assert timeline.probs == near(*[of_pitch(220)] * 4)
    assert not timeline.padded.any()
    assert (timeline.labels, timeline.provenance.notes) == (LABELS, ())


def test_a_row_is_the_mean_of_the_whole_windows_that_cover_it(
    model: Path, listening: Analyzer, tmp_path: Path
) -> None:
    """Low for 1 s, high for 1.3 s: the windows at 0 and 1 s are of one pitch, that at 0.5 of two;
    those at 1.5 and 2 s are cut short, and count for the last stride alone."""
    sound = np.concatenate([tone(110, 1.0), tone(440, 1.3)])
    bundle, path = load_bundle(model), write_wav(tmp_path / "a.wav", sound)
    parts = [sound[k * 8000 : k * 8000 + RATE_HZ] for k in range(5)]
    rows = [build_clip(Clip([], audio=part), bundle.clip_spec)["egemaps"] for part in parts]
    windows = bundle.predict({"egemaps": np.stack(rows)}, prior="uniform")
    timeline = listening.analyze(path)
    expected = [
        windows[0],
        windows[:2].mean(0),
        windows[1:3].mean(0),
        windows[2],
        windows[3:].mean(0),
    ]
    np.testing.assert_allclose(timeline.probs, expected, atol=1e-4)  # a WAV has 16 bits
    assert abs(windows[0] - windows[1]).max() > 0.05
    assert timeline.spans_s[-1] == pytest.approx([2.0, 2.3])


def test_silence_has_no_track(listening: Analyzer, tmp_path: Path) -> None:
    """1 s of a tone, 2 s of silence, 1 s of a tone: the window at 0.5 s has half a second of it."""
    sound = np.concatenate([tone(220, 1.0), silence(2.0), tone(220, 1.0)])
    timeline = listening.analyze(write_wav(tmp_path / "a.wav", sound))
    has_sound = np.array([True, True, True, False, False, True, True, True])
    assert timeline.track.tolist() == np.where(has_sound, 0, NO_TRACK).tolist()
    assert timeline.modalities.tolist() == np.where(has_sound, "voice", "").tolist()
    assert timeline.seen.tolist() == has_sound.tolist()


def test_sound_too_short_to_measure_is_one_row_of_nan(listening: Analyzer, tmp_path: Path) -> None:
    timeline = listening.analyze(write_wav(tmp_path / "a.wav", tone(220, 0.05)))
    assert timeline.spans_s.tolist() == [[0, 0.05]]
    assert (timeline.track.tolist(), timeline.tracks) == ([NO_TRACK], ())


def test_a_last_stride_too_short_to_measure_uses_the_window_before(
    listening: Analyzer, tmp_path: Path
) -> None:
    timeline = listening.analyze(write_wav(tmp_path / "a.wav", tone(220, 1.52)))
    assert timeline.spans_s[-1] == pytest.approx([1.5, 1.52])
    assert timeline.probs == near(*[of_pitch(220)] * 4)


def test_a_span_is_read_at_its_own_times(listening: Analyzer, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.concatenate([tone(110, 2.0), tone(440, 2.0)]))
    timeline = listening.analyze(path, start_s=2.0, end_s=3.25)
    assert timeline.spans_s == pytest.approx(np.array([(2, 2.5), (2.5, 3), (3, 3.25)]))
    assert timeline.probs == near(*[of_pitch(440)] * 3)
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
    reported_s: list[float] = []
    listening.analyze(write_wav(tmp_path / "a.wav", tone(220, 1.2)), progress=reported_s.append)
    assert reported_s == pytest.approx([0.5, 1.0, 1.2])


# Files


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame")]
)
def test_sound_files_of_any_kind_are_analysed(
    listening: Analyzer, tmp_path: Path, name: str, codec: str
) -> None:
    path = make_sound(tmp_path / name, codec=codec, rate_hz=44_100)
    timeline = listening.analyze(path)
    assert timeline.probs[:2] == near(*[of_pitch(440)] * 2)
    about = timeline.provenance
    assert (about.path, about.detector, about.rate_hz, about.width) == (str(path), "", None, 0)
    assert about.duration_s == pytest.approx(1.0, abs=0.05)
    assert np.isnan(about.fps)


def test_the_sound_of_a_video_is_analysed_with_its_provenance(
    listening: Analyzer, tmp_path: Path
) -> None:
    path = make_video(tmp_path / "film.mp4", num_frames=25, sound_s=1.0)
    timeline = listening.analyze(path)
    assert timeline.probs[:2] == near(*[of_pitch(440)] * 2)
    assert (timeline.provenance.width, timeline.provenance.fps) == (64, 25.0)


def test_a_video_without_sound_is_rows_of_nan_and_a_note(
    listening: Analyzer, tmp_path: Path
) -> None:
    path = make_video(tmp_path / "silent.mp4", num_frames=50)
    for start_s, end_s in ((0.0, 2.0), (0.5, 1.2)):
        timeline = listening.analyze(path, start_s=start_s, end_s=None if end_s == 2.0 else end_s)
        assert (timeline.spans_s[0, 0], timeline.spans_s[-1, 1]) == pytest.approx((start_s, end_s))
        assert np.isnan(timeline.probs).all()
        assert not timeline.seen.any()
        assert timeline.provenance.notes == ("the file has no sound, so no voice is heard",)
        assert timeline.provenance.duration_s == pytest.approx(2.0)
    with pytest.raises(MediaError, match=r"silent.mp4: the file has no sound"):
        listening.analyze(path, start_s=2.5)


def test_a_voice_model_refuses_a_picture(listening: Analyzer, tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    cv2.imwrite(str(path), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(MediaError, match=r"still.png: the file has no sound"):
        listening.analyze(path)


def test_a_voice_model_refuses_live_frames(listening: Analyzer) -> None:
    with pytest.raises(SpecError, match="tiny needs sound, and live frames have none"):
        next(listening.stream([]))


# The bundle


def test_vectors_of_nan_do_not_reach_the_model(model: Path) -> None:
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
def film_with_sound(listening: Analyzer, tmp_path: Path) -> tuple[Timeline, Path]:
    """A video of two seconds with a tone in the first."""
    path = make_video(tmp_path / "film.mp4", num_frames=50, sound_s=1.0)
    timeline = listening.analyze(path)
    assert timeline.track[:2].tolist() == [0, 0]
    return timeline, path


def test_every_report_can_hold_a_voice(
    film_with_sound: tuple[Timeline, Path], tmp_path: Path
) -> None:
    timeline, path = film_with_sound
    formats = ["json", "csv", "parquet", "html", "mp4"]
    assert len(write_report(timeline, tmp_path / "out", formats, video=path)) == 5
    first = json.loads((tmp_path / "out" / "film.json").read_text())["rows"][0]
    assert (first["track"], first["modalities"]) == (0, "voice")
    with (tmp_path / "out" / "film.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (row["track"], row["FaceRectX"], row["modalities"]) == ("0", "", "voice")
    assert "NaN" not in (tmp_path / "out" / "film.html").read_text().split("<script")[-1]


def test_a_voice_model_analyses_all_recordings_of_a_folder(model: Path, tmp_path: Path) -> None:
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


def test_a_face_model_skips_the_sound_files_of_a_folder(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(220, 1.0))
    model = image_bundle(tmp_path / "image.onnx")
    folder = tmp_path / "in"
    folder.mkdir()
    write_wav(folder / "a.wav", tone(220, 0.1))
    ran = ask("analyze", folder, "--model", model)
    assert_one_line(ran, folder, "the folder has no videos or images")


def test_a_folder_without_recordings_is_named(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").touch()
    ran = ask("analyze", folder, "--model", model)
    assert_one_line(ran, folder, "the folder has no videos or sound files")


def test_an_annotated_video_of_a_sound_file_is_refused(model: Path, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(220, 0.5))
    ran = ask("analyze", path, "--model", model, "--out", tmp_path / "out", "--format", "json,mp4")
    assert_one_line(ran, path, "the file has sound but no picture. Give one with a video track.")
    assert names(tmp_path / "out") == ["a.json"]


# Real speech


@pytest.mark.data
def test_speech_is_analysed_window_by_window(
    model: Path, listening: Analyzer, shared: Path, tmp_path: Path
) -> None:
    path = from_ravdess(shared, "03-01-05-02-01-01-17", tmp_path)
    sound, timeline = read_sound(path), listening.analyze(path)
    assert timeline.spans_s[-1, 1] == pytest.approx(sound.end_s)
    assert timeline.seen.sum() >= 5
    second = Clip([], audio=sound.samples[:RATE_HZ])
    bundle = load_bundle(model)
    inputs = build_clip(second, bundle.clip_spec)["egemaps"]
    expected = bundle.predict({"egemaps": inputs[None]}, prior="uniform")[0]
    np.testing.assert_allclose(timeline.probs[0], expected, atol=1e-6)


@pytest.mark.data
def test_a_real_video_is_analysed_to_the_end_of_its_sound(
    listening: Analyzer, shared: Path
) -> None:
    """Its picture is 2.4 s longer."""
    timeline = listening.analyze(shared / "clips" / "pyfeat_noface_face.mov")
    assert timeline.spans_s[-1, 1] == pytest.approx(3.965, abs=0.01)
    assert timeline.provenance.duration_s == pytest.approx(6.379, abs=0.01)
    assert timeline.seen.mean() > 0.5


# Kind: a film without sound that states a length of hours costs gigabytes and minutes


def test_silence_of_hours_takes_no_memory(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", times_s=[0.0, 0.04, 6 * 3600.0])
    sound, notes = sound_or_silence(path, 0.0, None, ReadLog())
    assert sound.end_s > 6 * 3600
    assert sound.samples.strides == (0,)
    assert not sound.samples.any()
    assert notes == ("the file has no sound, so no voice is heard",)


def test_silence_of_days_is_refused_and_a_part_of_it_is_not(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", times_s=[0.0, 0.04, 48 * 3600.0])
    with pytest.raises(MediaError, match=r"no sound and lasts 48 h, more than 12\. Analyse a part"):
        sound_or_silence(path, 0.0, None, ReadLog())
    sound, _ = sound_or_silence(path, 0.0, 2.0, ReadLog())
    assert sound.end_s == 2.0
