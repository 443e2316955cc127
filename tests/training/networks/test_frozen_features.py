"""A part with published weights that does not learn, and its features, which are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_corpora import make_corpus, tiny_recipe

from emoscope import models
from emoscope.core.errors import RecipeError
from emoscope.models.checkpoints import freeze
from emoscope.models.vgg import CNNRNN
from emoscope.training import experiment
from emoscope.training.experiment import Observer, resume, train
from emoscope.training.networks.callbacks import Progress, load_tensors
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import Run, read_run

VGG = {"depth": 11, "width": 1 / 64, "fc": 512, "size_px": 32, "batch_norm": True}
OPTIONS = {**VGG, "frames": 3, "hidden_size": 512}
STILL = {"flip": 0.0, "shift": 0.0}
SMALL_C3D = models.small("c3d")


class Listener(Observer):
    def __init__(self, stop_after: int = 10**9) -> None:
        self.told: list[str] = []
        self.asked: list[tuple[int, int]] = []
        self.stop_after = stop_after

    def began(self, text: str) -> None:
        self.told.append(text)

    def asking(self, done: int, total: int) -> None:
        self.asked.append((done, total))

    def progress(self, progress: Progress) -> None:
        if progress.epoch > self.stop_after:
            raise RuntimeError("pulled the plug")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "folder", subjects=2, each=2)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a VGG-11 of 1,000 classes, whose statistics are not the fresh ones any more."""
    torch.manual_seed(1)
    vgg = models.create("vgg16", num_classes=1000, **VGG)
    for _ in range(3):
        vgg(torch.randn(8, 1, 1, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "vgg11.pth"
    torch.save(vgg.state_dict(), path)
    return path


def recipe_with(weights: Path | None, **changes: Any) -> Recipe:
    model: dict[str, Any] = {"name": "vgg16-bilstm", "options": OPTIONS, "frozen": True}
    if weights is not None:
        model["weights"] = str(weights)
    changes = {"augmentation": STILL, "schedule": {"epochs": 2, "batch_size": 2}, **changes}
    return tiny_recipe(model=model, optimiser={"lr": 0.01}, **changes)


def go(recipe: Recipe, corpus: Path, folder: Path, **options: Any) -> Run:
    options = {"cache": folder.parent / "cache", **options}
    return train(recipe, {"folder": corpus}, folder, **options)


@pytest.mark.parametrize(
    ("name", "options", "learns"),
    [
        ("vgg16", VGG, {"classifier.6"}),
        ("c3d", SMALL_C3D, {"fc8"}),
        ("face-cnn", models.small("face-cnn"), {"classifier"}),
        ("vgg16-bilstm", OPTIONS, {"lstm", "classifier"}),
        ("vgg19-lstm", models.small("vgg19-lstm"), {"lstm", "classifier"}),
    ],
)
def test_what_is_published_does_not_learn_but_for_the_last_layer(
    name: str, options: dict[str, Any], learns: set[str]
) -> None:
    model = models.create(name, num_classes=2, **options)
    freeze(model)
    names = {n.rpartition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert names == learns


def test_of_four_streams_the_residual_ones_do_not_learn() -> None:
    model = models.create("four-stream", num_classes=2, **models.small("four-stream"))
    freeze(model)
    frozen = {n.split(".")[0] for n, p in model.named_parameters() if not p.requires_grad}
    learning = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert frozen == {"residual"}
    assert learning == {"recurrent", "classifier"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg16", VGG),
        ("c3d", SMALL_C3D),
        ("vgg16-bilstm", OPTIONS),
        ("face-cnn", models.small("face-cnn")),
    ],
)
def test_a_network_asked_in_two_steps_answers_as_in_one(name: str, options: dict[str, Any]) -> None:
    model: Any = models.create(name, num_classes=2, **options).eval()
    inputs = model.example_inputs()
    in_two = model.classify(model.trunk_features(**inputs))
    torch.testing.assert_close(in_two, model(**inputs))


@pytest.mark.parametrize("changes", [{}, {"augmentation": {"flip": 0.5}}])
def test_a_frozen_trunk_is_the_files_after_training(
    corpus: Path, published: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = go(recipe_with(published, **changes), corpus, tmp_path / "run")
    file = torch.load(published, weights_only=True)
    learnt = torch.load(run.weights, weights_only=True)
    kept = [key for key in file if f"trunk.{key}" in learnt]
    assert {"features.0.weight", "features.1.running_mean", "classifier.0.bias"} <= {*kept}
    assert all(torch.equal(learnt[f"trunk.{key}"], file[key]) for key in kept)
    torch.manual_seed(0)
    fresh = models.create("vgg16-bilstm", num_classes=2, **OPTIONS)
    learning = [m.parameters() for m in (fresh.lstm, fresh.classifier)]
    assert run.info["parameters"] == sum(p.numel() for part in learning for p in part)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "frozen, its features computed once and kept"),
        ({"augmentation": {"flip": 0.5}}, "at every epoch: the augmentation is drawn anew"),
        (
            {"clip": {"sampling": {"rule": "uniform", "length": 3, "jitter": True}}},
            "at every epoch: the frames are drawn anew",
        ),
    ],
)
def test_features_are_kept_where_nothing_is_drawn(
    corpus: Path, published: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    listener = Listener()
    recipe = recipe_with(published, **changes, schedule={"epochs": 1, "batch_size": 2})
    go(recipe, corpus, tmp_path / "run", observer=listener)
    (said,) = listener.told
    assert said.endswith(told)
    kept = list((tmp_path / "cache").glob("features/*/*.npy"))
    assert len(kept) == (0 if changes else 8)


def test_each_clip_is_asked_once_whatever_the_epochs_folds_and_runs(
    corpus: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    own = CNNRNN.trunk_features
    monkeypatch.setattr(
        CNNRNN, "trunk_features", lambda self, **inputs: asked.append(1) or own(self, **inputs)
    )
    listener = Listener()
    go(recipe_with(published), corpus, tmp_path / "run", observer=listener)
    assert len(asked) == 8
    assert listener.asked[-1] == (8, 8)
    go(recipe_with(published, seeds=[1]), corpus, tmp_path / "again")
    assert len(asked) == 8
    other = tmp_path / "other.pth"
    state = torch.load(published, weights_only=True)
    torch.save({**state, "features.0.bias": state["features.0.bias"] + 1}, other)
    go(recipe_with(other), corpus, tmp_path / "other")
    assert len(asked) == 16


def test_kept_features_train_the_network_that_computing_them_anew_does(
    corpus: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = {"epochs": 3, "batch_size": 2, "keep": "best-uar"}
    protocol = {"name": "stratified-group-holdout", "part": 0.34, "holdout": 0.5}
    recipe = recipe_with(published, schedule=schedule, protocol=protocol)
    corpus = make_corpus(tmp_path / "corpus", subjects=3, each=2)
    kept = go(recipe, corpus, tmp_path / "kept")
    monkeypatch.setattr(experiment, "why_not_kept", lambda *_: "the test asks for it")
    anew = go(recipe, corpus, tmp_path / "anew", cache=tmp_path / "other cache")
    assert not (tmp_path / "other cache" / "features").exists()
    ours, theirs = (torch.load(run.weights, weights_only=True) for run in (kept, anew))
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name], atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(kept.predictions().probs, anew.predictions().probs, atol=1e-5)


def test_checkpoints_leave_out_what_is_frozen_and_a_stopped_training_goes_on(
    corpus: Path, published: Path, tmp_path: Path
) -> None:
    recipe = recipe_with(published, schedule={"epochs": 4, "batch_size": 2})
    whole = go(recipe, corpus, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="plug"):
        go(recipe, corpus, tmp_path / "stopped", observer=Listener(stop_after=2))
    stopped = read_run(tmp_path / "stopped")
    (last,) = stopped.folder.rglob("last.ckpt")
    assert not [name for name in load_tensors(last)["state_dict"] if "trunk.features.0" in name]
    resumed = resume(stopped.folder, cache=tmp_path / "cache")
    ours, theirs = (torch.load(run.weights, weights_only=True) for run in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_damaged_features_are_named(corpus: Path, published: Path, tmp_path: Path) -> None:
    recipe = recipe_with(published)
    go(recipe, corpus, tmp_path / "run")
    for path in (tmp_path / "cache").glob("features/*/*.npy"):
        path.write_bytes(b"nothing")
    with pytest.raises(RecipeError, match=r"npy: features that are gone or damaged. Delete it"):
        go(recipe, corpus, tmp_path / "again")


def test_a_random_trunk_is_not_frozen(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model.frozen needs model.weights") as refused:
        go(recipe_with(None), corpus, tmp_path / "run")
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_estimator_has_nothing_to_freeze(corpus: Path, tmp_path: Path) -> None:
    settings = recipe_with(None).model_dump(mode="json", exclude_none=True)
    del settings["optimiser"], settings["schedule"], settings["augmentation"]
    settings["model"] = {"name": "mbmic-svm", "frozen": True}
    with pytest.raises(RecipeError, match="frozen is for networks"):
        go(Recipe.model_validate(settings), corpus, tmp_path / "run")
