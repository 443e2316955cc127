"""Search of settings inside a training side, validated on other persons."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from asking import ask, assert_one_line
from sklearn.pipeline import Pipeline
from sounding import silence, tone, write_wav

from emoscope.core.errors import RecipeError, SpecError
from emoscope.training.estimators import job as estimator_job
from emoscope.training.estimators.pipelines import create
from emoscope.training.estimators.search import Choice, candidates, choose, choose_pipeline
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.experiment import train
from emoscope.training.jobs import prepare
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import FINAL, RunFolder, read_json, read_run

# The kernel is so narrow that it knows a voice again, and no more.
KERNELS = ({"kernel": ["rbf"], "gamma": [1.0], "C": [10.0]}, {"kernel": ["linear"], "C": [0.001]})


def persons(clips: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twenty persons who say one of two classes each, in a voice of their own; 20 features of 88
    tell something of everybody's class."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), clips)
    truth = who % 2
    features = rng.normal(size=(20, 88))[who] + rng.normal(0, 0.02, (len(who), 88))
    features[:, :20] += 0.7 * truth[:, None]
    return features.astype(np.float32), truth, who.astype(str)


def chosen(subjects: np.ndarray, search: Any = KERNELS, **options: Any) -> Choice:
    features, truth, _ = persons()
    return choose("egemaps-svc", options, search, {"egemaps": features}, truth, subjects, 0)


def refused(model: Any, **changes: Any) -> str:
    with pytest.raises(RecipeError) as raised:
        prepare(recipe(model, **changes), ("low", "high"))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def recipe(model: Any, **changes: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "searched",
            "corpus": {"name": "folder"},
            "protocol": {"name": "group-k-fold", "k": 3},
            "model": model,
            "bundle": {"licence": "none", "trained_on": "tones"},
            **changes,
        }
    )


def test_every_combination_of_a_table_is_tried_and_every_table_by_itself() -> None:
    search = ({"kernel": ["linear"], "C": [1, 2]}, {"kernel": ["rbf"], "C": [3]})
    assert list(candidates(search)) == [
        {"kernel": "linear", "C": 1},
        {"kernel": "linear", "C": 2},
        {"kernel": "rbf", "C": 3},
    ]


def test_the_search_validates_on_other_persons() -> None:
    """A kernel that remembers voices does best on clips of the same persons, and knows nothing of
    others."""
    who = persons()[2]
    by_person, by_clip = chosen(who), chosen(np.full_like(who, ""))
    assert by_person.chosen["kernel"] == "linear"
    assert by_clip.chosen["kernel"] == "rbf"
    recalls = {one["kernel"]: uar for one, uar in by_person.tried}
    assert recalls["linear"] > 0.7 > recalls["rbf"]


def test_ties_go_to_the_first_candidate_and_a_seed_is_reproducible() -> None:
    who, search = persons()[2], ({"tol": [1e-3, 1e-4]},)
    first, again = (chosen(who, search, C=0.03) for _ in range(2))
    assert first == again
    assert first.tried[0][1] == first.tried[1][1]
    assert first.chosen == {"tol": 1e-3}


class Numbers(NamedTuple):
    """A vector that no film is read for."""

    kind: str
    dimensions: int


def test_an_unregistered_pipeline_is_searched_alike() -> None:
    features, truth, who = persons()
    search = ({"C": [0.001, 10.0]},)

    def build(**settings: Any) -> Pipeline:
        return create("egemaps-svc", kernel="rbf", gamma=1.0, **settings)

    def of(values: np.ndarray) -> Choice:
        vector = Numbers("numbers", 88)
        return choose_pipeline("ours", build, vector, search, {"numbers": values}, truth, who, 0)

    assert of(features) == chosen(who, search, kernel="rbf", gamma=1.0) != chosen(who, search)
    with pytest.raises(SpecError, match=r"ours: numbers is \(N, 88\), got \(120, 20\)"):
        of(features[:, :20])


def test_a_recipe_gives_one_table_or_several() -> None:
    one = recipe({"name": "egemaps-svc", "search": {"C": [0.1, 1]}})
    two = recipe({"name": "egemaps-svc", "search": [{"C": [0.1, 1]}, {"kernel": ["rbf"]}]})
    assert one.model.search == ({"C": (0.1, 1)},)
    assert two.model.search == ({"C": (0.1, 1)}, {"kernel": ("rbf",)})
    for searched in (one, two):
        assert prepare(searched, ("low", "high")).kind == "estimator"
    assert Recipe.model_validate_json(two.model_dump_json()) == two


def test_an_invalid_search_is_refused() -> None:
    def of(search: Any, **options: Any) -> str:
        return refused({"name": "egemaps-svc", "search": search, "options": options})

    assert "no option 'kernl'. Did you mean 'kernel'?" in of({"kernl": ["rbf", "linear"]})
    assert "Known: scale, C, kernel" in of({"trees": [1, 2]})
    assert "C is both in model.options and in model.search" in of({"C": [1, 2]}, C=3)
    assert "one candidate. Put it into model.options" in of({"C": [1]})
    assert "face-cnn is a network" in refused({"name": "face-cnn", "search": {"width": [1, 2]}})
    with pytest.raises(RecipeError, match=r"^egemaps-svc: model.search: invalid C = -1: "):
        chosen(persons()[2], ({"C": [-1, 1]},), tol=1e-3)


@pytest.mark.parametrize("value", ["0.1", "[]", "{}"])
def test_values_that_are_not_a_list_are_refused(value: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        'name = "a"\n[corpus]\nname = "folder"\n[protocol]\nname = "fixed"\n[model]\n'
        f'name = "egemaps-svc"\nsearch = {{ C = {value} }}\n'
        '[bundle]\nlicence = "x"\ntrained_on = "x"\n'
    )
    assert_one_line(ask("train", path, "--corpus", "folder=."), path, "search.0.C")


# A run


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six persons, high when happy; beside them sound of which nothing can be made."""
    pytest.importorskip("opensmile")
    folder = tmp_path_factory.mktemp("voices")
    for person in range(6):
        for label, hz in (("happiness", 300), ("sadness", 150)):
            place = folder / f"p{person}" / label
            place.mkdir(parents=True)
            for take in range(2):
                write_wav(place / f"{take}.wav", tone(hz + 5 * person + 7 * take, 0.2))
    write_wav(folder / "p0" / "sadness" / "silent.wav", silence(0.5))
    write_wav(folder / "p0" / "sadness" / "short.wav", tone(150, 0.03))
    return folder


@pytest.fixture(scope="module")
def run(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    model = {"name": "egemaps-svc", "search": {"kernel": ["linear", "rbf"], "C": [0.1, 1.0]}}
    home = tmp_path_factory.mktemp("run")
    train(recipe(model), {"folder": voices}, home / "run", cache=home / "cache")
    evaluate(home / "run")
    return read_run(home / "run")


def test_every_fold_stores_its_choice_and_all_candidates(run: RunFolder) -> None:
    trainings = [*run.results(), read_json(run.part(FINAL, 0) / "fold.json")]
    assert len(trainings) == 4
    for fold in trainings:
        assert len(fold["tried"]) == 4
        best = max(fold["tried"], key=lambda one: one["uar"])
        assert fold["chosen"] == best["settings"]


def test_an_evaluation_shows_the_choice_of_every_fold(run: RunFolder) -> None:
    page = (run.folder / "evaluation.md").read_text(encoding="utf-8")
    assert "kernel, C chosen in each training side by inner folds of persons" in page
    assert "| temperature | chosen settings |" in page
    assert page.count("kernel = linear, C = ") == 4  # three folds, and the bundle's
    assert "chosen for the bundle" in page
    table = (run.folder / "evaluation.csv").read_text(encoding="utf-8")
    assert "chosen,fold 1/seed-0,kernel,linear,," in table


def test_unusable_sound_is_left_out_and_counted(run: RunFolder) -> None:
    assert len(run.samples) == 24
    reasons = {"too short or too quiet for egemaps": 1, "the audio track is silent": 1}
    assert run.info["left_out"] == reasons
    page = (run.folder / "evaluation.md").read_text(encoding="utf-8")
    assert all(f"| {reason} | 1 |" in page for reason in reasons)


def test_the_search_does_not_use_the_test_side(
    run: RunFolder, voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search uses all samples of a fold's training side and no others."""
    searched_rows: list[list[str]] = []

    def watched(*inputs: Any) -> Choice:
        searched_rows.append(sorted(inputs[5].tolist()))
        return choose(*inputs)

    monkeypatch.setattr(estimator_job, "choose", watched)
    train(run.recipe, {"folder": voices}, tmp_path / "run", cache=run.folder.parent / "cache")
    expected = [sorted(run.samples[i].subject for i in fold["train"]) for fold in run.planned]
    assert searched_rows == expected
    again = [
        json.loads((tmp_path / "run" / "folds" / f["name"] / "seed-0" / "fold.json").read_text())
        for f in run.folds
    ]
    assert [f["chosen"] for f in again] == [f["chosen"] for f in run.results()]
