"""Models of pictures and sound: rows of faces, each with the sound of its windows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask
from making import make_image, make_video
from scripted import scenes
from sounding import RATE_HZ, tone
from tiny_bundles import LABELS, clip_card, write_bundle

from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import load_bundle
from emoscope.analysis.rows import WindowRows
from emoscope.analysis.stages import through
from emoscope.core.clipspec import ClipSpec, Last, LogMel, Normalisation, Stream, Vector, Window
from emoscope.core.errors import SpecError
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.corpora.cutting import Cutting, cut
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Clip, build_clip, finish
from emoscope.media.sound.audio import Sound
from emoscope.media.sound.logmel import log_mel

SOUND = LogMel(length_s=0.8, mels=20, normalisation=Normalisation(mean=(-60.0,), std=(20.0,)))
SPEC = ClipSpec(
    region="frame",
    sampling=Last(length=4),
    rate_hz=5.0,
    window=Window(length_s=0.8, stride_s=0.4),
    streams=(Stream(kind="rgb", size_hw=(8, 8)), SOUND),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose prediction depends on the mean of its pictures and of its sound."""
    path = tmp_path_factory.mktemp("both") / "both.onnx"
    return write_bundle(path, clip_card(clip_spec=SPEC, modality="face+voice"))


class Asked:
    """A model that keeps its inputs and predicts 0.5."""

    def __init__(self) -> None:
        self.inputs: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        self.inputs += [
            dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)
        ]
        return np.full((len(inputs["logmel"]), 2), 0.5)


def rows(
    faces: Sequence[dict[int, int]], sound: Sound | None, spec: ClipSpec = SPEC
) -> tuple[Timeline, list[dict[str, np.ndarray]]]:
    """Rows of scripted faces, one moment every 0.1 s."""
    asked = Asked()
    modality = "face+voice" if spec.frame_streams else "voice"
    rows = through(WindowRows(spec, asked, ("this", "that"), modality, sound), scenes(faces))
    return Timeline.concatenate(rows), asked.inputs


def logmel_of(samples: np.ndarray) -> np.ndarray:
    return (log_mel(samples, RATE_HZ, SOUND.steps, SOUND.mels) + 60) / 20


def test_each_window_of_a_face_gets_the_sound_of_that_window() -> None:
    """1.6 s of two faces: windows at 0, 0.4 and 0.8 s, and two that are cut short."""
    samples = np.concatenate([tone(220, 0.8), tone(1000, 0.8)])
    timeline, inputs = rows([{0: 20, 1: 60}] * 16, Sound(samples, RATE_HZ))
    assert timeline.track.tolist() == [0, 1] * 4
    assert len(inputs) == 2 * 4
    for k, given in enumerate(inputs):
        at = round(0.4 * (k // 2) * RATE_HZ)
        expected = logmel_of(samples[at : at + round(0.8 * RATE_HZ)])
        np.testing.assert_array_equal(given["logmel"], expected)
        assert round(100 * float(given["rgb"].mean())) == (20, 60)[k % 2]


def test_a_face_that_leaves_gets_the_sound_until_then() -> None:
    samples = np.concatenate([tone(220, 0.5), tone(1000, 0.3)])
    _, (given, *_) = rows([{0: 20}] * 5 + [{}] * 3, Sound(samples, RATE_HZ))
    np.testing.assert_allclose(given["logmel"], logmel_of(tone(220, 0.5)), atol=0.01)


def test_sound_runs_on_the_pictures_clock() -> None:
    """The sound begins 0.3 s after the pictures."""
    _, (given, *_) = rows([{0: 20}] * 8, Sound(tone(1000, 1.0), RATE_HZ, start_s=0.3))
    assert given["logmel"].max(axis=1)[:28].max() == -2
    assert given["logmel"].max(axis=1)[32:].min() > 0


@pytest.mark.parametrize(
    "sound", [None, Sound(np.zeros(16_000, np.float32), RATE_HZ)], ids=["none", "silence"]
)
def test_a_row_names_the_voice_only_where_it_is_heard(sound: Sound | None) -> None:
    timeline, inputs = rows([{0: 20}] * 8, sound)
    assert (inputs[0]["logmel"] == -2).all()
    assert timeline.modalities.tolist() == ["face", "face"]
    assert timeline.seen.all()


def test_a_row_has_the_voice_if_one_of_its_windows_has() -> None:
    """Sound from 0.7 s to 1 s of 2.4 s: in the windows at 0, 0.4 and 0.8 s."""
    samples = np.zeros(round(2.4 * RATE_HZ), np.float32)
    samples[11_200:16_000] = tone(440, 0.3)
    timeline, _ = rows([{0: 20}] * 20 + [{}] * 4, Sound(samples, RATE_HZ))
    both, alone = "face+voice", "face"
    assert timeline.modalities.tolist() == [both, both, both, both, alone, ""]
    assert timeline.track.tolist() == [0, 0, 0, 0, 0, NO_TRACK]


def test_for_a_model_of_sound_alone_silence_has_no_track() -> None:
    spec = ClipSpec(window=SPEC.window, streams=(SOUND,))
    samples = np.concatenate([np.zeros(16_000, np.float32), tone(440, 0.6)])
    timeline, _ = rows([{0: 0}] * 16, Sound(samples, RATE_HZ), spec)
    assert timeline.track.tolist() == [NO_TRACK, 0, 0, 0]
    assert timeline.modalities.tolist() == ["", "voice", "voice", "voice"]


def test_a_model_of_one_picture_and_sound_has_windows(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"sampling": Last(length=1)})
    path = write_bundle(tmp_path / "a.onnx", clip_card(clip_spec=spec, modality="face+voice"))
    looking = Analyzer(path)
    assert (looking.looks, looking.listens, looking.uses_rate) == (True, True, False)
    timeline = looking.analyze(make_video(tmp_path / "a.mp4", num_frames=20, sound_s=0.8))
    assert timeline.modalities.tolist() == ["face+voice"] * 2


def test_training_and_analysis_give_a_model_the_same_inputs(model: Path, tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", num_frames=20, sound_s=1.0)
    material = cut(Sample(film, "joy"), Cutting(SPEC, "none")).material
    assert material is not None
    trained = finish(material, SPEC)
    bundle, asked = load_bundle(model), []

    def run(inputs: Any) -> np.ndarray:
        asked.append({name: array[0] for name, array in inputs.items()})
        return np.zeros((len(inputs["rgb"]), 3))

    Analyzer(replace(bundle, run=run)).analyze(film)
    for name, array in trained.items():
        np.testing.assert_array_equal(asked[0][name], array, err_msg=name)


def test_sound_changes_the_prediction(model: Path, tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", num_frames=20, sound_s=0.8)
    silent = make_video(tmp_path / "silent.mp4", num_frames=20)
    one, other = (Analyzer(model).analyze(path) for path in (film, silent))
    assert one.spans_s.tolist() == other.spans_s.tolist()
    assert one.modalities.tolist() == ["face+voice"] * 2
    assert one.provenance.notes == ()
    assert other.modalities.tolist() == ["face"] * 2
    assert other.provenance.notes == (
        f"No voice was heard. {silent}: the file has no sound. Give one with a sound track.",
    )
    assert np.abs(one.probs - other.probs).max() > 1e-4
    assert (one.labels, other.seen.all()) == (LABELS, True)


def test_a_span_has_the_sound_of_its_own_times(model: Path, tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", num_frames=50, sound_s=1.0)
    timeline = Analyzer(model).analyze(film, start_s=0.8)  # the window there covers two rows
    assert timeline.modalities.tolist() == ["face+voice", "face+voice", "face"]


def test_a_single_picture_is_analysed_without_sound(model: Path, tmp_path: Path) -> None:
    timeline = Analyzer(model).analyze(make_image(tmp_path / "still.png"))
    assert timeline.modalities.tolist() == ["face"]


def test_the_command_line_takes_a_model_of_pictures_and_sound(model: Path, tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", num_frames=20, sound_s=0.8)
    ran = ask("analyze", film, "--model", model, "--out", tmp_path / "out", "--format", "csv")
    assert (ran.exit_code, ran.exception) == (0, None)
    assert "face+voice" in (tmp_path / "out" / "film.csv").read_text()


def test_live_frames_are_refused_as_they_have_no_sound(model: Path) -> None:
    with pytest.raises(SpecError) as raised:
        next(Analyzer(model).stream([]))
    assert str(raised.value) == (
        "tiny needs sound, and live frames have none. Analyse a file instead."
    )


def test_missing_features_of_sound_give_no_prediction() -> None:
    """eGeMAPS of silence is NaN, which does not reach the model."""
    pytest.importorskip("opensmile")
    gray = Stream(kind="gray", size_hw=(8, 8))
    spec = ClipSpec(sampling=Last(length=2), streams=(gray, Vector(kind="egemaps")))
    built = build_clip(Clip([np.zeros((8, 8, 3), np.uint8)] * 2), spec)
    assert np.isnan(built["egemaps"]).all()
    assert np.isfinite(built["gray"]).all()
