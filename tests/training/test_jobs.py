"""A recipe becomes one job: a network's or an estimator's."""

from pathlib import Path
from typing import Any

import pytest
from tiny_corpora import LABELS, make_corpus, tiny_recipe

from emoscope import models
from emoscope.core.errors import RecipeError, UnknownName
from emoscope.training.experiment import train
from emoscope.training.jobs import model_clip_spec, prepare, prepare_run
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import read_run


def estimator_recipe(**model: Any) -> Recipe:
    return tiny_recipe(
        model={"name": "egemaps-svc", "options": {}, **model},
        augmentation={"flip": 0.0, "shift": 0.0},
        optimiser=None,
        schedule=None,
    )


def test_a_networks_job_knows_its_clips_and_parameters() -> None:
    job = prepare(tiny_recipe(clip={"margin": 0.25}), LABELS)
    network = models.create("face-cnn", num_classes=2, stem=4, widths=(4, 8), blocks=(1, 1))
    assert job.kind == "network"
    assert job.spec == network.clip_spec.model_copy(update={"margin": 0.25})
    assert job.parameters == sum(weights.numel() for weights in network.parameters())


def test_an_estimators_job_has_no_parameters() -> None:
    job = prepare(estimator_recipe(), LABELS)
    assert job.kind == "estimator"
    assert list(job.spec.shapes()) == ["egemaps"]
    assert job.parameters is None
    assert job.check() == ""


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (tiny_recipe(model={"search": [{"stem": [4, 8]}]}), "search is for estimators"),
        (tiny_recipe(optimiser=None, schedule=None), "needs the tables optimiser and schedule"),
        (estimator_recipe(weights="vgg.pth"), "weights is for networks"),
        (estimator_recipe(frozen=True), "frozen is for networks"),
    ],
)
def test_settings_of_the_other_kind_are_refused(recipe: Recipe, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        prepare(recipe, LABELS)


def test_the_clips_of_a_model_are_known_by_its_name() -> None:
    assert model_clip_spec("face-gru") == models.create("face-gru").clip_spec
    assert list(model_clip_spec("egemaps-svc").shapes()) == ["egemaps"]
    with pytest.raises(UnknownName, match=r"No model named 'face-cn'\. Did you mean 'face-cnn'"):
        model_clip_spec("face-cn")


def test_an_unknown_option_of_an_estimator_is_refused_before_clips_are_cut() -> None:
    with pytest.raises(RecipeError, match=r"egemaps-svc: model\.options: no option 'depth'\."):
        prepare(estimator_recipe(options={"depth": 3}), LABELS)


def test_an_unknown_option_of_a_network_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"has no option 'stemm'\. Did you mean 'stem'\?$"):
        prepare(tiny_recipe(model={"name": "face-cnn", "options": {"stemm": 4}}), LABELS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("face-cn", r"Did you mean 'face-cnn'\?"),
        ("egemap-svc", r"Did you mean 'egemaps-svc'\?"),
        ("xyz", r"Known: .*face-cnn.*egemaps-svc"),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest_or_all_names(name: str, hint: str) -> None:
    with pytest.raises(UnknownName, match=f"no model named {name!r}. {hint}"):
        prepare(tiny_recipe(model={"name": name, "options": {}}), LABELS)


def test_a_network_is_built_once_a_fold_and_once_for_the_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[str] = []
    create = models.create

    def counted(name: str, **options: Any) -> models.Network:
        builds.append(name)
        return create(name, **options)

    monkeypatch.setattr(models, "create", counted)
    corpus = make_corpus(tmp_path / "corpus", subjects=2, each=2)
    recipe = tiny_recipe(schedule={"epochs": 1, "batch_size": 2})
    run = train(recipe, {"folder": corpus}, tmp_path / "run", cache=tmp_path / "cache")
    assert len(run.trainings) == 3
    assert len(builds) == 1 + 3


def test_an_estimators_run_has_no_network(tmp_path: Path) -> None:
    make_corpus(tmp_path / "corpus", each=2)
    changes: dict[str, Any] = {"optimiser": None, "schedule": None}
    recipe = tiny_recipe(
        model={"name": "mbmic-svm", "options": {}},
        augmentation={"flip": 0.0, "shift": 0.0},
        **changes,
    )
    folder = tmp_path / "run"
    train(recipe, {"folder": tmp_path / "corpus"}, folder, cache=tmp_path / "cache")
    run = read_run(folder)
    job = prepare_run(run)
    assert run.info["estimator"] is True
    assert [output.name for output in job.graph(run).graph.output] == ["logits"]
    with pytest.raises(RecipeError, match="mbmic-svm is an estimator and has no layers"):
        job.trained_network(run)
