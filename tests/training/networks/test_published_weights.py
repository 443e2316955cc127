"""Training that starts with published weights from a file."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_corpora import make_corpus, tiny_recipe

from emoscope import models
from emoscope.core.errors import CorpusError, RecipeError
from emoscope.training.experiment import resume, train
from emoscope.training.observer import Observer
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder, read_json

OPTIONS = {"depth": 11, "width": 1 / 64, "fc": 512, "size_px": 32}


class Listener(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "folder", subjects=2, each=2)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a VGG-11 with 1,000 classes, as a library saves them."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "vgg11.pth"
    torch.save(models.create("vgg16", num_classes=1000, **OPTIONS).state_dict(), path)
    return path


def recipe_with(weights: Path | None, **changes: Any) -> Recipe:
    model = {"name": "vgg16", "options": OPTIONS}
    if weights is not None:
        model["weights"] = str(weights)
    return tiny_recipe(
        model=model, optimiser={"lr": 1e-12}, schedule={"epochs": 1, "batch_size": 2}, **changes
    )


def go(recipe: Recipe, corpus: Path, folder: Path, **options: Any) -> RunFolder:
    return train(recipe, {"folder": corpus}, folder, cache=folder.parent / "cache", **options)


def test_every_fold_starts_with_the_published_weights(
    corpus: Path, published: Path, tmp_path: Path
) -> None:
    listener = Listener()
    run = go(recipe_with(published), corpus, tmp_path / "run", observer=listener)
    file = torch.load(published, weights_only=True)
    learnt = torch.load(run.exported_file("weights.pt"), weights_only=True)
    for name in ("features.0.weight", "classifier.3.weight"):  # hardly moved by a rate of 1e-12
        torch.testing.assert_close(learnt[name], file[name], atol=1e-6, rtol=0)
    assert learnt["classifier.6.weight"].shape == (2, 8)
    (note,) = listener.notes
    assert note.startswith(
        f"{published}: 20 tensors loaded; not loaded, as the classes differ: classifier.6"
    )


def test_weights_of_a_face_model_with_other_labels_can_be_used(
    corpus: Path, tmp_path: Path
) -> None:
    options = {"stem": 4, "widths": [4, 8], "blocks": [1, 1]}
    torch.manual_seed(2)
    learnt = models.create("face-cnn", num_classes=8, **options).state_dict()
    torch.save(learnt, tmp_path / "weights.pt")
    model = {"name": "face-cnn", "options": options, "weights": str(tmp_path / "weights.pt")}
    schedule = {"epochs": 1, "batch_size": 2}
    recipe = tiny_recipe(model=model, optimiser={"lr": 1e-12}, schedule=schedule)
    run = go(recipe, corpus, tmp_path / "run")
    begun = torch.load(run.exported_file("weights.pt"), weights_only=True)
    kernel = "stages.1.conv1.weight"
    torch.testing.assert_close(begun[kernel], learnt[kernel], atol=1e-6, rtol=0)
    assert begun["classifier.weight"].shape == (2, 8)


def test_a_file_that_does_not_fit_is_refused_before_anything_is_written(
    corpus: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, wrong)
    for path in (wrong, tmp_path / "nowhere.pth"):
        with pytest.raises(RecipeError) as refused:
            go(recipe_with(path), corpus, tmp_path / "run")
        assert str(refused.value).startswith(str(path))
        assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
    assert not (tmp_path / "cache").exists()


def test_an_estimator_takes_no_weights(corpus: Path, published: Path, tmp_path: Path) -> None:
    settings = recipe_with(published).model_dump(mode="json", exclude_none=True)
    del settings["optimiser"], settings["schedule"], settings["augmentation"]
    settings["model"] = {"name": "mbmic-svm", "weights": str(published)}
    with pytest.raises(RecipeError, match="weights is for networks"):
        go(Recipe.model_validate(settings), corpus, tmp_path / "run")


def test_a_resumed_run_needs_the_same_weights(
    corpus: Path, published: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copy(published, tmp_path / "mine.pth"))
    run = go(recipe_with(mine), corpus, tmp_path / "run")
    assert len(read_json(run.folder / "run.json")["weights"]) == 64
    (run.part(*run.trainings[-1]) / "fold.json").unlink()
    torch.save({"other": torch.zeros(1)}, mine)
    with pytest.raises(RecipeError, match="not the weights "):
        resume(run.folder, cache=tmp_path / "cache")
    mine.unlink()
    with pytest.raises(CorpusError, match="mine"):
        resume(run.folder, cache=tmp_path / "cache")
