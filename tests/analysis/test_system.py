"""A system of two tiny bundles, one of pictures and one of sound, on synthetic videos."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask, lines
from making import make_image, make_sound, make_video
from tiny_bundles import LABELS, clip_bundle, image_bundle, voice_bundle

import emoscope
from emoscope.analysis import bundle_analyzer as analyzer_module
from emoscope.analysis import voice as voice_module
from emoscope.analysis.analyzer import Analyzer, analyze
from emoscope.analysis.bundle import installed_models, load_bundle
from emoscope.analysis.system import System
from emoscope.core.clipspec import Window
from emoscope.core.errors import BundleError, EmoscopeError, MediaError, SpecError, UnknownName
from emoscope.core.options import AnalyzeOptions
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.reports.formats import FORMATS, write_report

pytest.importorskip("opensmile")

HEAD = 'name = "both"\nversion = "0.3"\nlabels = ["dark", "middling", "bright"]\n'
FACE = '[[members]]\nmodel = "face.onnx"\n'
VOICE = '[[members]]\nmodel = "voice.onnx"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles, a system file, and a video of 2.4 s whose sound ends after 1.3 s."""
    folder = tmp_path_factory.mktemp("system")
    image_bundle(folder / "face.onnx", name="face")
    voice_bundle(folder / "voice.onnx", name="voice", version="2.0")
    clip_bundle(folder / "clip.onnx", name="clip")
    (folder / "both.toml").write_text(HEAD + FACE + VOICE)
    make_video(folder / "film.mp4", num_frames=60, sound_s=1.3)
    make_video(folder / "mute.mp4", num_frames=5)
    return folder


@pytest.fixture
def write(folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Writes a system file beside its members."""
    for name in ("face", "voice", "clip"):
        (tmp_path / f"{name}.onnx").write_bytes((folder / f"{name}.onnx").read_bytes())

    def written(text: str) -> Path:
        path = tmp_path / "made.toml"
        path.write_text(text)
        return path

    return written


@pytest.fixture(scope="module")
def film(folder: Path) -> Timeline:
    return analyze(folder / "film.mp4", folder / "both.toml", detector="none")


def alone(folder: Path, model: str, film: str | Path = "film.mp4", **options: Any) -> Timeline:
    return Analyzer(folder / f"{model}.onnx", detector="none", **options).analyze(folder / film)


def by_hand(face: Timeline, voice: Timeline, face_weight: float = 0.5) -> np.ndarray:
    """Row by row: the voice's rows weighted by overlap, then both weighted, or the one present."""
    rows = []
    for (start_s, end_s), seen in zip(face.spans_s, face.probs, strict=True):
        shared = [max(0.0, min(end_s, b) - max(start_s, a)) for a, b in voice.spans_s]
        parts = [
            (length, p)
            for length, p in zip(shared, voice.probs, strict=True)
            if length > 0 and not np.isnan(p).any()
        ]
        if not parts:
            rows.append(seen)
            continue
        voice_probs = sum(length * p for length, p in parts) / sum(length for length, _ in parts)
        both = face_weight * seen + (1 - face_weight) * voice_probs
        rows.append(voice_probs if np.isnan(seen).any() else both)
    return np.array(rows)


# Rows


def test_its_rows_are_the_two_timelines_fused_by_hand(folder: Path, film: Timeline) -> None:
    face, voice = alone(folder, "face"), alone(folder, "voice")
    np.testing.assert_array_equal(film.spans_s, face.spans_s)
    np.testing.assert_array_equal(film.boxes_xyxy, face.boxes_xyxy)
    np.testing.assert_allclose(film.probs, by_hand(face, voice), atol=1e-9)
    assert np.abs(film.probs[:5] - face.probs[:5]).max() > 0.1


def test_each_row_names_the_members_with_a_prediction(film: Timeline) -> None:
    """The window at 1 s has the end of the sound, the stride at 1.5 s none."""
    has_voice = film.spans_s[:, 0] < 1.4
    assert 10 < has_voice.sum() < len(film) - 5
    assert film.modalities[has_voice].tolist() == ["face+voice"] * int(has_voice.sum())
    assert set(film.modalities[film.spans_s[:, 0] > 1.6].tolist()) == {"face"}


def test_its_provenance_names_members_and_rule(film: Timeline) -> None:
    source = film.provenance
    assert (source.model, source.model_version, source.rule) == ("both", "0.3", "average")
    assert source.members == ("face 1.2", "voice 2.0")
    assert (source.speaker, source.rate_hz, source.notes) == ("all", 10.0, ())
    assert film.labels == LABELS
    assert film.to_dict()["provenance"]["members"] == ["face 1.2", "voice 2.0"]


def test_a_row_without_a_face_has_the_voice_alone(folder: Path) -> None:
    """A grey video, in which the cascade finds no face."""
    timeline = analyze(folder / "film.mp4", folder / "both.toml")
    voice = alone(folder, "voice")
    has_voice = timeline.modalities == "voice"
    assert set(timeline.track.tolist()) == {NO_TRACK}
    assert np.isnan(timeline.boxes_xyxy).all()
    assert 10 < has_voice.sum() < len(timeline)
    np.testing.assert_allclose(timeline.probs[0], voice.probs[0], atol=1e-9)
    assert timeline.seen.tolist() == has_voice.tolist()
    assert set(timeline.modalities[~has_voice].tolist()) == {""}
    assert timeline.summary() == ()


def test_a_video_without_sound_is_analysed_by_its_faces(folder: Path) -> None:
    timeline = analyze(folder / "mute.mp4", folder / "both.toml", detector="none")
    np.testing.assert_allclose(timeline.probs, alone(folder, "face", "mute.mp4").probs)
    assert set(timeline.modalities.tolist()) == {"face"}
    (note,) = timeline.provenance.notes
    assert note.startswith("No voice was heard. ")
    assert "mute.mp4: the file has no sound" in note


def test_an_image_is_a_row_of_faces(folder: Path, tmp_path: Path) -> None:
    timeline = analyze(make_image(tmp_path / "a.png"), folder / "both.toml", detector="none")
    assert timeline.modalities.tolist() == ["face"]


def test_sound_without_pictures_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.m4a"):
        analyze(make_sound(tmp_path / "a.m4a"), folder / "both.toml")


def test_a_span_is_fused_at_its_own_times(folder: Path) -> None:
    span: dict[str, Any] = {"start_s": 0.28, "end_s": 2.0}
    part = analyze(folder / "film.mp4", folder / "both.toml", detector="none", **span)
    assert part.spans_s[[0, -1], [0, 1]] == pytest.approx([0.32, 2.0])
    assert (part.modalities[0], part.modalities[-1]) == ("face+voice", "face")
    face, voice = (
        Analyzer(folder / f"{name}.onnx", detector="none").analyze(folder / "film.mp4", **span)
        for name in ("face", "voice")
    )
    np.testing.assert_allclose(part.probs, by_hand(face, voice), atol=1e-9)


def test_a_member_of_clips_gives_its_own_rows(folder: Path, write: Any) -> None:
    path = write(HEAD + '[[members]]\nmodel = "clip.onnx"\n' + VOICE)
    timeline = analyze(folder / "film.mp4", path)
    clip, voice = alone(folder, "clip"), alone(folder, "voice")
    assert timeline.spans_s[0].tolist() == [0, 0.5]
    np.testing.assert_allclose(timeline.probs, by_hand(clip, voice), atol=1e-9)


def test_weights_and_the_order_of_members(folder: Path, write: Any) -> None:
    weigh = HEAD + 'rule = "weighted-average"\n'
    face, voice = FACE + "weight = 3\n", VOICE + "weight = 1\n"
    one, other = (
        analyze(folder / "film.mp4", write(weigh + members), detector="none")
        for members in (face + voice, voice + face)
    )
    expected = by_hand(alone(folder, "face"), alone(folder, "voice"), 0.75)
    np.testing.assert_allclose(one.probs, expected, atol=1e-9)
    np.testing.assert_allclose(other.probs, expected, atol=1e-9)
    assert other.modalities[0] == "voice+face"


def test_labels_are_mapped_and_others_left_out(folder: Path, tmp_path: Path) -> None:
    """ "bright" of the face has no counterpart; "bright" of the voice is mapped to dark."""
    image_bundle(tmp_path / "face.onnx", name="face")
    voice_bundle(tmp_path / "voice.onnx", name="voice")
    path = tmp_path / "made.toml"
    head = 'name = "both"\nlabels = ["dark", "middling"]\n'
    path.write_text(head + FACE + VOICE + 'maps = { bright = "dark" }\n')
    timeline = analyze(folder / "film.mp4", path, detector="none").probs[0]
    face, voice = (alone(folder, name).probs[0] for name in ("face", "voice"))
    expected = face[0] / (face[0] + face[1]) / 2 + (voice[0] + voice[2]) / 2
    assert timeline == pytest.approx([expected, 1 - expected])


def test_a_system_sets_the_windows_of_its_voice(folder: Path, write: Any) -> None:
    path = write(HEAD + FACE + VOICE + "window = { length_s = 0.6, stride_s = 0.4 }\n")
    timeline = analyze(folder / "film.mp4", path, detector="none")
    cut = Window(length_s=0.6, stride_s=0.4)
    voice_bundle(path.parent / "voice.onnx", name="voice", window=cut)
    expected = by_hand(alone(folder, "face"), alone(path.parent, "voice", folder / "film.mp4"))
    np.testing.assert_allclose(timeline.probs, expected, atol=1e-9)


def test_pictures_and_sound_are_decoded_once(
    folder: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with two members of sound."""
    read: list[str] = []
    for module, name in ((analyzer_module, "read_frames"), (voice_module, "read_sound")):
        plain = getattr(module, name)

        def counted(*args: Any, plain: Any = plain, name: str = name, **options: Any) -> Any:
            read.append(name)
            return plain(*args, **options)

        monkeypatch.setattr(module, name, counted)
    path = write(HEAD + FACE + VOICE + VOICE.replace("voice", "other"))
    voice_bundle(path.parent / "other.onnx", name="other")
    timeline = analyze(folder / "film.mp4", path, detector="none")
    assert sorted(read) == ["read_frames", "read_sound"]
    assert timeline.modalities[0] == "face+voice"


def test_the_command_line_and_python_agree(folder: Path) -> None:
    words = ("--detector", "none", "--rate", "5", "--prior", "train", "--speaker", "mouth")
    ran = ask("analyze", folder / "film.mp4", "--model", folder / "both.toml", *words, "--json")
    assert ran.exit_code == 0, ran.stderr
    ours = emoscope.analyze(
        folder / "film.mp4",
        folder / "both.toml",
        detector="none",
        rate_hz=5.0,
        prior="train",
        speaker="mouth",
    )
    assert json.loads(ran.stdout) == json.loads(json.dumps(ours.to_dict()))
    assert ours.provenance.speaker == "mouth"


def test_a_voice_without_a_face_is_printed_in_one_line(folder: Path) -> None:
    ran = ask("analyze", folder / "film.mp4", "--model", folder / "both.toml")
    assert lines(ran.stderr) == [f"{folder}/film.mp4: no face seen, but a voice heard"]


def test_the_analyzer_of_a_system_is_that_of_a_model(folder: Path, film: Timeline) -> None:
    options = AnalyzeOptions(detector="none")
    system = Analyzer(folder / "both.toml", options)
    assert system.analyze(folder / "film.mp4").to_dict() == film.to_dict()
    assert (system.name, system.labels) == ("both", LABELS)
    assert (system.looks, system.listens, system.uses_rate) == (True, True, True)
    assert (system.options.speaker, system.options.smooth_s) == ("all", 0.5)
    face, voice = (Analyzer(folder / f"{name}.onnx", options) for name in ("face", "voice"))
    assert [(one.looks, one.listens) for one in (face, voice)] == [(True, False), (False, True)]


def test_every_moment_of_a_system_can_be_watched(folder: Path) -> None:
    seen: list[float] = []
    system = Analyzer(folder / "both.toml", detector="none", speaker="mouth")
    system.analyze(folder / "film.mp4", watch=lambda moment: seen.append(moment.start_s))
    assert len(seen) == 24


def test_live_frames_are_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match="both needs sound, and live frames have none"):
        Analyzer(folder / "both.toml").stream([])


def test_every_report_can_hold_rows_of_the_voice_alone(folder: Path, tmp_path: Path) -> None:
    film = folder / "film.mp4"
    timeline = analyze(film, folder / "both.toml")
    write_report(timeline, tmp_path, list(FORMATS), video=film)
    with (tmp_path / "film.csv").open(newline="") as table:
        first, *_ = csv.DictReader(table)
    assert (first["track"], first["FaceRectX"], first["modalities"]) == ("", "", "voice")
    assert float(first[first["leading"]]) == pytest.approx(timeline.probs[0].max(), abs=1e-6)
    row = json.loads((tmp_path / "film.json").read_text())["rows"][0]
    assert (row["track"], row["box_xyxy"], row["modalities"]) == (None, None, "voice")
    assert row["probabilities"][row["leading"]] == timeline.probs[0].max()
    assert "Fusion rule</dt><dd>average" in (tmp_path / "film.html").read_text()


# Refused systems


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = ", "not a readable system file"),
        (HEAD + FACE, "members: Tuple should have at least 2 items"),
        (HEAD + "rules = 3\n" + FACE + VOICE, "rules: Extra inputs"),
        (HEAD + FACE + FACE, "members must differ, got face, face"),
        (HEAD + FACE + VOICE.replace("voice", "clip"), "Its image models: face, clip"),
        (HEAD + VOICE + VOICE.replace("voice", "lost"), "lost.onnx: no such file"),
        (HEAD + FACE + VOICE + "weight = 2\n", "The rule average takes no weights"),
        (HEAD + 'rule = "weighted-average"\n' + FACE + VOICE, "face has none"),
        (HEAD + 'rule = "averge"\n' + FACE + VOICE, "Did you mean 'average'"),
        (HEAD + 'rule = "x.rule.onnx"\n' + FACE + VOICE, "x.rule.onnx: no such file"),
        (HEAD + 'rule = "face.rule.onnx"\n' + FACE + VOICE, "not a learned rule"),
        (HEAD + 'speaker = "left"\n' + FACE + VOICE, "speaker: Input should be 'all' or 'mouth'"),
        (HEAD + FACE + VOICE + "weight = -1\n", "greater than or equal to 0"),
        (
            HEAD + FACE + VOICE + 'maps = { calm = "dark" }\n',
            "the label map of voice names 'calm', which is not a label of the model",
        ),
        (
            HEAD + FACE + VOICE + 'maps = { dark = "glad" }\n',
            "names 'glad', which is not a label of the system",
        ),
        (HEAD.replace("dark", "sad") + FACE + VOICE, "face has no label sadness, and would"),
        (HEAD.replace("dark", "bright") + FACE + VOICE, "needs two or more labels, all different"),
        ('name = "a"\nlabels = "basic8"\n' + FACE + VOICE, "No label set named 'basic8'"),
        (
            HEAD + FACE + '[[members]]\nmodel = "voice-x"\npackage = "some-voice"\n',
            "both: its member voice-x is not installed. Install some-voice.",
        ),
        (HEAD + FACE + '[[members]]\nmodel = "voice-x"\n', "No installed model named 'voice-x'"),
    ],
)
def test_an_invalid_system_is_refused_with_the_reason(
    folder: Path, write: Any, text: str, reason: str
) -> None:
    path = write(text)
    (path.parent / "face.rule.onnx").write_bytes((folder / "face.onnx").read_bytes())
    with pytest.raises(EmoscopeError) as raised:
        Analyzer(path)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_system_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere\.toml: not a readable system file"):
        Analyzer(tmp_path / "nowhere.toml")
    with pytest.raises(UnknownName, match="Did you mean 'face-voice'"):
        Analyzer("face-voise")


def test_a_speaker_is_for_systems(folder: Path) -> None:
    with pytest.raises(SpecError, match="'speaker' is for systems"):
        Analyzer(folder / "face.onnx", speaker="mouth")
    with pytest.raises(
        SpecError, match=r"Option speaker: Input should be 'all' or 'mouth' \(got 'eyes'\)"
    ):
        Analyzer(folder / "both.toml", speaker="eyes")  # type: ignore[arg-type]


def test_a_system_is_refused_where_one_model_is_needed(folder: Path) -> None:
    for model in (folder / "both.toml", "face-voice"):
        with pytest.raises(
            BundleError, match="a system of several models, but one model is needed"
        ):
            load_bundle(model)


# The one that ships


def test_face_voice_is_installed_and_fits_its_bundles(tmp_path: Path) -> None:
    """With a replacement for the voice model, which is in a separate package."""
    assert installed_models()["face-voice"].suffix == ".toml"
    system = System.read("face-voice")
    face, voice = system.members
    assert (face.model, voice.model, voice.package) == (
        "face-ferplus",
        "voice-ravdess",
        "emoscope-voice",
    )
    labels = ["neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"]
    here = voice_bundle(
        tmp_path / "voice.onnx", name="voice-ravdess", labels=labels, prior=[0.125] * 8
    )
    member = voice.model_copy(update={"model": str(here)})
    whole = system.model_copy(update={"members": (face, member)})
    assert len(Analyzer(whole).labels) == 7


def test_a_missing_member_names_its_package() -> None:
    system = System.read("face-voice")
    face, voice = system.members
    gone = voice.model_copy(update={"model": "voice-that-is-gone"})
    with pytest.raises(BundleError, match=r"voice-that-is-gone is not installed\. Install emosc"):
        Analyzer(system.model_copy(update={"members": (face, gone)}))
