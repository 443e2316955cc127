"""packages/emoscope-voice: weights that are not part of the Apache wheel. `make test` installs it;
without it these tests are skipped."""

import tomllib
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from asking import ask, lines
from making import make_video
from sounding import from_ravdess

import emoscope
from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import Bundle, bundle_names
from emoscope.core.labels import LABEL_SETS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "packages" / "emoscope-voice"
NAME = "voice-ravdess"

installed = pytest.mark.skipif(
    NAME not in bundle_names(), reason="no emoscope-voice: pip install -e packages/emoscope-voice"
)


@pytest.fixture
def bundle() -> Bundle:
    return emoscope.load_bundle(NAME)


def test_the_wheel_of_emoscope_holds_apache_weights_alone() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["emoscope"]
    assert settings["tool"]["setuptools"]["packages"]["find"]["where"] == ["src"]
    house = ROOT / "src" / "emoscope"
    shipped = [path for pattern in patterns for path in house.glob(pattern)]
    weights = [path for path in shipped if path.suffix == ".onnx"]
    assert "face-ferplus" in {path.stem for path in weights}
    assert NAME not in {path.stem for path in shipped}
    assert {emoscope.load_bundle(path).card.licence for path in weights} == {"Apache-2.0"}


def test_the_package_states_its_licence_and_training_data() -> None:
    settings = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert settings["license"] == "CC-BY-NC-SA-4.0"
    assert settings["dependencies"] == ["emoscope[audio]"]
    text = (PACKAGE / "LICENSE").read_text(encoding="utf-8")
    assert "creativecommons.org/licenses/by-nc-sa/4.0" in text
    assert "Livingstone SR, Russo FA (2018)" in text
    assert "PLoS ONE 13(5): e0196391" in text


def test_the_package_holds_a_model_and_its_card_and_nothing_of_the_corpus() -> None:
    files = [path for path in (PACKAGE / "src" / "emoscope_voice").iterdir() if path.is_file()]
    assert {path.name for path in files} == {"__init__.py", f"{NAME}.onnx", f"{NAME}.md"}
    assert (PACKAGE / "src" / "emoscope_voice" / f"{NAME}.onnx").stat().st_size < 1e6


@installed
def test_the_model_is_installed_and_states_its_licence(bundle: Bundle) -> None:
    card = bundle.card
    assert bundle.path == PACKAGE / "src" / "emoscope_voice" / f"{NAME}.onnx"
    assert card.licence == metadata("emoscope-voice")["License-Expression"] == "CC-BY-NC-SA-4.0"
    assert "Livingstone & Russo" in card.trained_on
    assert "non-commercial" in card.trained_on
    assert (card.modality, set(card.labels)) == ("voice", set(LABEL_SETS["ravdess8"].labels))
    assert metadata("emoscope-voice")["Version"].partition(".")[0] == card.version


@installed
def test_the_figures_are_those_of_unseen_actors(bundle: Bundle) -> None:
    figures = bundle.card.figures
    assert (figures["samples"], figures["subjects"], figures["folds"]) == (1200, 20, 5)
    assert figures["interval_over"] == "subjects"
    assert "chosen in each training side by inner folds of persons" in figures["what"]
    confusion = np.array(figures["confusion"])
    recalls = confusion.diagonal() / confusion.sum(axis=1)
    assert figures["uar"] == pytest.approx(recalls.mean())
    assert figures["accuracy"] == pytest.approx(confusion.trace() / 1200)
    assert figures["uar_ci95"][0] > 0.35  # chance is 0.125


@installed
def test_the_bundle_holds_coefficients_and_no_clips(bundle: Bundle) -> None:
    """28 hyperplanes, the scaler's means and deviations, two calibration values a class. The
    1,200 clips have 105,600 features."""
    graph = onnx.load(bundle.path).graph
    assert "SVMClassifier" not in {node.op_type for node in graph.node}
    held = sum(len(a.floats) for node in graph.node for a in node.attribute)
    held += sum(int(np.prod(one.dims)) for one in graph.initializer)
    assert 28 * 89 + 2 * 88 <= held < 28 * 89 + 2 * 88 + 150


# Sound


CLIPS = {  # all of actors whom the model has heard: its card tells how it does with others
    "03-01-05-02-01-01-17": "anger",
    "03-01-02-01-01-01-04": "calm",
    "03-01-08-02-02-01-11": "surprise",
    "03-01-03-02-01-02-08": "happiness",
    "03-01-06-02-01-01-14": "fear",
    "03-01-04-02-02-01-02": "sadness",
}


@installed
@pytest.mark.data
def test_the_model_recognises_acted_emotions_above_chance(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    analyzer = Analyzer(NAME)
    labels = {}
    for clip in CLIPS:
        (voice,) = analyzer.analyze(from_ravdess(shared, clip, tmp_path)).summary()
        labels[clip] = voice.leading
    assert sum(labels[clip] == label for clip, label in CLIPS.items()) >= 3


@installed
@pytest.mark.data
def test_the_sound_of_a_video_is_analysed_over_time(shared: Path, tmp_path: Path) -> None:
    """One row per stride from 0 s on, as for faces."""
    pytest.importorskip("opensmile")
    film = shared / "clips" / "pyfeat_single_face.mp4"
    ran = ask("analyze", film, "--model", NAME, "--out", tmp_path, "--format", "csv")
    assert ran.exit_code == 0
    assert f"{film}: 1 voice; #0 " in ran.stderr
    rows = lines((tmp_path / f"{film.stem}.csv").read_text(encoding="utf-8"))
    assert len(rows) > 3
    timeline = emoscope.analyze(film, NAME)
    np.testing.assert_allclose(np.diff(timeline.spans_s[:-1, 0]), 0.5)
    assert timeline.modalities[timeline.seen].tolist() == ["voice"] * int(timeline.seen.sum())


@installed
def test_the_system_of_face_and_voice_opens_by_its_name() -> None:
    analyzer = emoscope.Analyzer("face-voice", detector="none")
    assert (analyzer.name, len(analyzer.labels)) == ("face-voice", 7)
    assert (analyzer.looks, analyzer.listens) == (True, True)


@installed
def test_a_video_without_sound_has_no_predictions(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    timeline = emoscope.analyze(make_video(tmp_path / "silent.mp4", num_frames=25), NAME)
    assert not timeline.seen.any()
    assert np.isnan(timeline.probs).all()
    assert timeline.provenance.notes == ("the file has no sound, so no voice is heard",)
