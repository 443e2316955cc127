"""From a recipe to a bundle at work, on a FER+ tree that a small network can learn."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import emoscope
from emoscope.core.errors import RecipeError
from emoscope.core.labels import LABEL_SETS
from emoscope.corpora import manifest
from emoscope.training.evaluate import evaluate
from emoscope.training.export import export_run
from emoscope.training.loop import read_without_twins, train
from emoscope.training.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
LABELS = LABEL_SETS["ferplus8"].labels
SMALL = {
    "schedule.epochs": "3",
    "schedule.batch_size": "16",
    "schedule.ema_decay": "0.8",
    "schedule.precision": "32-true",
    "corpus.holdout": "0.2",
    "model.options": "{stem = 8, widths = [8, 16], blocks = [1, 1]}",
}


def picture(label: int, seed: int) -> np.ndarray:
    """Stripes across for neutral, upright for happiness, and noise of its own."""
    wave = 127 + 80 * np.sin(np.arange(48) / 2)
    stripes = np.tile(wave, (48, 1)) if label else np.tile(wave[:, None], (1, 48))
    noise = np.random.default_rng(seed).normal(0, 12, (48, 48))
    return np.clip(stripes + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ferplus")
    rows = []
    for usage, folder, count in (
        ("Training", "FER2013Train", 120),
        ("PublicTest", "FER2013Valid", 30),
    ):
        (root / folder).mkdir()
        for i in range(count):
            name, label = f"fer{len(rows):07d}.png", i % 2
            cv2.imwrite(str(root / folder / name), picture(label, len(rows)))
            votes = [0] * 10
            votes[label], votes[2] = 9, 1
            rows.append([usage, name, *votes])
    with (root / "fer2013new.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["Usage", "Image name", *LABELS, "unknown", "NF"], *rows])
    return root


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.read(RECIPES / "face-ferplus.toml", SMALL)


@pytest.fixture(scope="module")
def run(corpus: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    train(recipe, corpus, folder)
    evaluate(folder, corpus)
    return folder


def test_a_run_learns_and_is_measured_on_the_valid_part(run: Path) -> None:
    figures = json.loads((run / "evaluation.json").read_text())["figures"]
    assert figures["pictures"] == 30
    assert figures["accuracy"] >= 0.9
    assert figures["per_class"]["happiness"]["pictures"] == 15
    low, high = figures["accuracy_ci95"]
    assert low <= figures["accuracy"] <= high


def test_a_run_keeps_its_recipe_its_prior_and_what_it_left_out(run: Path, recipe: Recipe) -> None:
    assert Recipe.model_validate_json((run / "recipe.json").read_text()) == recipe
    summary = json.loads((run / "summary.json").read_text())
    assert summary["pictures"]["fitted"] + summary["pictures"]["holdout"] == 120
    np.testing.assert_allclose(summary["prior"][:3], [0.43, 0.43, 0.1], atol=0.05)
    assert summary["left_out"]["train: twins of valid or test"] == 0


def test_the_bundle_of_a_run_reads_a_picture(run: Path, tmp_path: Path) -> None:
    card = export_run(run, tmp_path / "small.onnx")
    assert emoscope.load_bundle(tmp_path / "small.onnx").card == card
    cv2.imwrite(str(tmp_path / "happy.png"), picture(1, seed=999))
    timeline = emoscope.analyze(
        tmp_path / "happy.png", tmp_path / "small.onnx", detector="none", prior="train"
    )
    assert timeline.leading == ("happiness",)
    page = (tmp_path / "small.md").read_text()
    assert f"{card.figures['accuracy']:.1%}" in page
    assert {path.name for path in tmp_path.iterdir()} == {"small.onnx", "small.md", "happy.png"}


def test_a_picture_is_read_once_to_tell_twins(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    plain = manifest.digest
    monkeypatch.setattr(manifest, "digest", lambda path: read.append(path) or plain(path))
    cleaned, digests = read_without_twins("ferplus", corpus)
    assert len(read) == len(set(read)) == 150
    assert {sample.path for sample in cleaned.samples} == set(digests)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"not a finished run: .*weights\.pt"):
        export_run(tmp_path, tmp_path / "model.onnx")


def test_options_a_network_does_not_take_are_refused(
    recipe: Recipe, corpus: Path, tmp_path: Path
) -> None:
    odd = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"options": {"depth": 3}})}
    )
    with pytest.raises(RecipeError, match=r"model\.options do not fit.*depth"):
        train(odd, corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_corpus_is_refused(
    recipe: Recipe, corpus: Path, tmp_path: Path
) -> None:
    schedule = recipe.schedule.model_copy(update={"batch_size": 500})
    with pytest.raises(RecipeError, match="a batch takes 500"):
        train(recipe.model_copy(update={"schedule": schedule}), corpus, tmp_path / "run")
