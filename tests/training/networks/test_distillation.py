"""Distillation: targets, effect, and refused teachers."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tiny_corpora import LABELS, make_corpus, tiny_recipe

from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.core.errors import RecipeError
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.experiment import resume, train
from emoscope.training.export.bundle import export_run
from emoscope.training.networks.distillation import soft_targets
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder, read_run

HOLDOUT = {"name": "stratified-group-holdout", "part": 0.34}


def go(recipe: Recipe, home: Path, name: str) -> RunFolder:
    return train(recipe, {"folder": home / "corpus"}, home / name, cache=home / "cache")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and the bundle of a network trained on it."""
    home = tmp_path_factory.mktemp("home")
    make_corpus(home / "corpus")
    go(tiny_recipe(protocol=HOLDOUT, schedule={"epochs": 8, "batch_size": 4}), home, "first")
    evaluate(home / "first")
    export_run(home / "first", home / "teacher.onnx")
    return home


@pytest.fixture
def teacher(home: Path) -> Bundle:
    return load_bundle(home / "teacher.onnx")


def taught(home: Path, **changes: Any) -> Recipe:
    teacher = {"bundle": str(home / "teacher.onnx"), "share": 1.0}
    return tiny_recipe(**{"protocol": HOLDOUT, "teacher": teacher, **changes})


def test_a_share_of_the_targets_is_the_teachers_softmax(teacher: Bundle) -> None:
    clips = np.random.default_rng(0).normal(size=(3, 1, 1, 48, 48)).astype(np.float32)
    logits = torch.from_numpy(teacher.run({"gray": clips}))
    votes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    targets = soft_targets(teacher, 0.25, {"gray": torch.from_numpy(clips)}, votes)
    torch.testing.assert_close(targets, 0.75 * votes + 0.25 * logits.softmax(dim=1))
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(3))


def test_a_network_learns_more_from_its_teacher_than_from_labels(
    home: Path, tmp_path: Path
) -> None:
    """The labels of this corpus are swapped; the teacher was trained on the right ones."""
    corpus = tmp_path / "corpus"
    shutil.copytree(home / "corpus", corpus)
    for who in corpus.iterdir():
        (who / LABELS[0]).rename(who / "aside")
        (who / LABELS[1]).rename(who / LABELS[0])
        (who / "aside").rename(who / LABELS[1])
    (tmp_path / "teacher.onnx").symlink_to(home / "teacher.onnx")
    schedule = {"epochs": 8, "batch_size": 4}
    right = []
    for name, teacher in (("taught", {}), ("alone", {"teacher": None})):
        run = go(taught(tmp_path, schedule=schedule, **teacher), tmp_path, name)
        predictions = run.predictions()
        right.append(float((predictions.predicted == predictions.truth).mean()))
    by_teacher, by_labels = right
    assert by_labels > 0.8
    assert by_teacher < 0.2
    what = evaluate(tmp_path / "taught")["figures"]["what"]
    assert what.endswith("; distilled from teacher")


def test_a_resumed_run_needs_the_same_teacher(home: Path, tmp_path: Path) -> None:
    shutil.copyfile(home / "teacher.onnx", tmp_path / "teacher.onnx")
    shutil.copytree(home / "corpus", tmp_path / "corpus")
    run = go(taught(tmp_path, schedule={"epochs": 1}), tmp_path, "run")
    shutil.rmtree(run.part(*run.exported))
    other = onnx.load(tmp_path / "teacher.onnx")
    other.doc_string = "another file"
    onnx.save(other, tmp_path / "teacher.onnx")
    with pytest.raises(RecipeError, match=r"teacher\.onnx: not the teacher .*run started with"):
        resume(tmp_path / "run", cache=tmp_path / "cache")
    shutil.copyfile(home / "teacher.onnx", tmp_path / "teacher.onnx")
    resume(tmp_path / "run", cache=tmp_path / "cache")
    assert not read_run(tmp_path / "run").missing


def test_a_teacher_of_other_labels_or_inputs_is_refused(home: Path) -> None:
    elsewhere = tiny_recipe(
        protocol=HOLDOUT, teacher={"bundle": "face-ferplus"}, schedule={"epochs": 1}
    )
    with pytest.raises(
        RecipeError, match=r"face-ferplus has the labels neutral, happiness, .* the same"
    ):
        go(elsewhere, home, "other-labels")
    coloured = {"name": "single-frame", "options": {}}
    with pytest.raises(RecipeError, match="a teacher with the same streams"):
        go(taught(home, model=coloured), home, "other-inputs")
    assert not (home / "other-labels").exists()


def test_a_frozen_trunk_or_an_estimator_has_no_teacher(home: Path) -> None:
    frozen = {"frozen": True, "weights": "some.pth"}
    for changes in ({"model": frozen}, {"optimiser": None, "schedule": None}):
        with pytest.raises(
            ValueError, match=r"teacher is for networks, and not with model\.frozen"
        ):
            taught(home, **changes)
