"""Training, evaluation and export from Python."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_corpora import LABELS, make_corpus, tiny_recipe, write_toml

import emoscope.training
from emoscope.core.errors import RecipeError
from emoscope.training import Recipe, Run, resume, train
from emoscope.training.run_folder import read_json


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe file of two epochs, and a corpus."""
    home = tmp_path_factory.mktemp("home")
    make_corpus(home / "corpus", each=2)
    write_toml(tiny_recipe(protocol={"name": "group-k-fold", "k": 3}), home / "tiny.toml")
    return home


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    return train(
        home / "tiny.toml",
        {"folder": home / "corpus"},
        home / "run",
        settings={"schedule.epochs": "1"},
        cache=home / "cache",
    )


def test_a_recipe_is_trained_by_its_path_with_changed_settings(run: Run) -> None:
    assert run.recipe.schedule is not None
    assert run.recipe.schedule.epochs == 1
    assert run.missing == []
    assert run.predictions().probs.shape == (12, 2)
    assert repr(run) == f"Run({str(run.folder)!r})"


def test_a_run_is_evaluated(run: Run) -> None:
    figures = run.evaluate()
    predictions = run.predictions()
    assert figures["accuracy"] == np.mean(predictions.truth == predictions.predicted)
    assert read_json(run.folder / "evaluation.json")["figures"] == figures


def test_the_bundle_of_a_run_is_exported_at_first_use(run: Run, home: Path) -> None:
    opened = Run.open(run.folder)
    (run.folder / "evaluation.json").unlink(missing_ok=True)
    bundle = opened.bundle
    assert bundle.labels == LABELS
    assert bundle.name == "tiny"
    assert (run.folder / "tiny.onnx").is_file()
    assert (run.folder / "evaluation.json").is_file()
    inputs = {"gray": np.zeros((2, *bundle.clip_spec.shapes()["gray"]), np.float32)}
    np.testing.assert_allclose(bundle.predict(inputs).sum(axis=1), 1, atol=1e-6)
    written_ns = (run.folder / "tiny.onnx").stat().st_mtime_ns
    assert Run.open(str(run.folder)).bundle.name == "tiny"
    assert (run.folder / "tiny.onnx").stat().st_mtime_ns == written_ns


def test_an_interrupted_run_is_resumed_by_its_path(run: Run, home: Path) -> None:
    before = run.predictions().probs
    (run.part("fold 2", 0) / "fold.json").unlink()
    np.testing.assert_array_equal(
        resume(str(run.folder), cache=home / "cache").predictions().probs, before
    )


def test_settings_need_a_recipe_file(home: Path) -> None:
    recipe = Recipe.read(home / "tiny.toml")
    with pytest.raises(RecipeError, match="only a recipe file's settings can be changed"):
        train(recipe, {}, settings={"schedule.epochs": "1"})


def test_runs_are_written_below_runs_by_default(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"schedule.epochs": "1", "name": "short"}
    corpora = {"folder": str(home / "corpus")}
    run = train(str(home / "tiny.toml"), corpora, settings=settings, cache=home / "cache")
    assert run.folder == Path("runs/short")
    assert run.info["corpus_folders"] == corpora


def test_the_package_has_only_its_public_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = emoscope.training.trian


@pytest.mark.parametrize(
    "code",
    [
        "import emoscope.training",
        "from emoscope.training import Recipe",
        "from emoscope.training.run_folder import read_run",
    ],
)
def test_reading_a_run_needs_no_torch(code: str) -> None:
    code += "; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
