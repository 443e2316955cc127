"""Frozen parts with published weights, and their kept features."""

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
from emoscope.training.experiment import resume, train
from emoscope.training.networks import job as network_job
from emoscope.training.networks.callbacks import load_tensors
from emoscope.training.observer import Observer, Progress
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder, read_run

VGG = {"depth": 11, "width": 1 / 64, "fc": 512, "size_px": 32, "batch_norm": True}
OPTIONS = {**VGG, "frames": 3, "hidden_size": 512}
STILL = {"flip": 0.0, "shift": 0.0}
SMALL_C3D = models.small("c3d")


class Listener(Observer):
    def __init__(self, stop_after: int = 10**9) -> None:
        self.notes: list[str] = []
        self.computed: list[tuple[int, int]] = []
        self.stop_after = stop_after

    def note(self, text: str) -> None:
        self.notes.append(text)

    def features_computed(self, done: int, total: int) -> None:
        self.computed.append((done, total))

    def progress(self, progress: Progress) -> None:
        if progress.epoch > self.stop_after:
            raise RuntimeError("pulled the plug")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "folder", subjects=2, each=2)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a VGG-11 with 1,000 classes and updated batch statistics."""
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


def go(recipe: Recipe, corpus: Path, folder: Path, **options: Any) -> RunFolder:
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
def test_published_layers_are_frozen_except_the_last(
    name: str, options: dict[str, Any], learns: set[str]
) -> None:
    model = models.create(name, num_classes=2, **options)
    freeze(model)
    names = {n.rpartition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert names == learns


def test_the_residual_trunks_of_four_stream_are_frozen() -> None:
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
def test_features_then_classifier_equal_the_forward_pass(
    name: str, options: dict[str, Any]
) -> None:
    model: Any = models.create(name, num_classes=2, **options).eval()
    inputs = model.example_inputs()
    in_two = model.classify(model.trunk_features(**inputs))
    torch.testing.assert_close(in_two, model(**inputs))


@pytest.mark.parametrize("changes", [{}, {"augmentation": {"flip": 0.5}}])
def test_training_does_not_change_a_frozen_trunk(
    corpus: Path, published: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = go(recipe_with(published, **changes), corpus, tmp_path / "run")
    file = torch.load(published, weights_only=True)
    learnt = torch.load(run.exported_file("weights.pt"), weights_only=True)
    kept = [key for key in file if f"trunk.{key}" in learnt]
    assert {"features.0.weight", "features.1.running_mean", "classifier.0.bias"} <= {*kept}
    assert all(torch.equal(learnt[f"trunk.{key}"], file[key]) for key in kept)
    torch.manual_seed(0)
    fresh = models.create("vgg16-bilstm", num_classes=2, **OPTIONS)
    learning = [m.parameters() for m in (fresh.lstm, fresh.classifier)]
    assert run.info["parameters"] == sum(p.numel() for part in learning for p in part)


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({}, "frozen, its features computed once and kept"),
        ({"augmentation": {"flip": 0.5}}, "in every epoch: the augmentation is random"),
        (
            {"clip": {"sampling": {"rule": "uniform", "length": 3, "jitter": True}}},
            "in every epoch: the choice of frames is random",
        ),
    ],
)
def test_features_are_kept_if_nothing_is_random(
    corpus: Path, published: Path, tmp_path: Path, changes: dict[str, Any], ending: str
) -> None:
    listener = Listener()
    recipe = recipe_with(published, **changes, schedule={"epochs": 1, "batch_size": 2})
    go(recipe, corpus, tmp_path / "run", observer=listener)
    (note,) = listener.notes
    assert note.endswith(ending)
    kept = list((tmp_path / "cache").glob("features/*/*.npy"))
    assert len(kept) == (0 if changes else 8)


def test_features_of_a_clip_are_computed_once_for_all_epochs_folds_and_runs(
    corpus: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    own = CNNRNN.trunk_features
    monkeypatch.setattr(
        CNNRNN, "trunk_features", lambda self, **inputs: computed.append(1) or own(self, **inputs)
    )
    listener = Listener()
    go(recipe_with(published), corpus, tmp_path / "run", observer=listener)
    assert len(computed) == 8
    assert listener.computed[-1] == (8, 8)
    go(recipe_with(published, seeds=[1]), corpus, tmp_path / "again")
    assert len(computed) == 8
    other = tmp_path / "other.pth"
    state = torch.load(published, weights_only=True)
    torch.save({**state, "features.0.bias": state["features.0.bias"] + 1}, other)
    go(recipe_with(other), corpus, tmp_path / "other")
    assert len(computed) == 16


def test_kept_features_give_the_same_network_as_computed_ones(
    corpus: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = {"epochs": 3, "batch_size": 2, "keep": "best-uar"}
    protocol = {"name": "stratified-group-holdout", "part": 0.34, "holdout": 0.5}
    recipe = recipe_with(published, schedule=schedule, protocol=protocol)
    corpus = make_corpus(tmp_path / "corpus", subjects=3, each=2)
    kept = go(recipe, corpus, tmp_path / "kept")
    monkeypatch.setattr(network_job, "why_not_kept", lambda *_: "the test asks for it")
    anew = go(recipe, corpus, tmp_path / "anew", cache=tmp_path / "other cache")
    assert not (tmp_path / "other cache" / "features").exists()
    ours, theirs = (
        torch.load(run.exported_file("weights.pt"), weights_only=True) for run in (kept, anew)
    )
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name], atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(kept.predictions().probs, anew.predictions().probs, atol=1e-5)


def test_checkpoints_leave_out_frozen_weights_and_can_be_resumed(
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
    ours, theirs = (
        torch.load(run.exported_file("weights.pt"), weights_only=True) for run in (resumed, whole)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_damaged_features_are_named(corpus: Path, published: Path, tmp_path: Path) -> None:
    recipe = recipe_with(published)
    go(recipe, corpus, tmp_path / "run")
    for path in (tmp_path / "cache").glob("features/*/*.npy"):
        path.write_bytes(b"nothing")
    with pytest.raises(RecipeError, match=r"npy: missing or damaged features. Delete the file"):
        go(recipe, corpus, tmp_path / "again")


def test_a_random_trunk_is_not_frozen(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model.frozen needs model.weights") as refused:
        go(recipe_with(None), corpus, tmp_path / "run")
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_estimator_cannot_be_frozen(corpus: Path, tmp_path: Path) -> None:
    settings = recipe_with(None).model_dump(mode="json", exclude_none=True)
    del settings["optimiser"], settings["schedule"], settings["augmentation"]
    settings["model"] = {"name": "mbmic-svm", "frozen": True}
    with pytest.raises(RecipeError, match="frozen is for networks"):
        go(Recipe.model_validate(settings), corpus, tmp_path / "run")
