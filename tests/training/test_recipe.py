from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from emoscope import models
from emoscope.core.errors import RecipeError
from emoscope.training import estimators
from emoscope.training.jobs import prepare
from emoscope.training.papers.published import papers
from emoscope.training.recipe import UNSTATED, CorpusChoice, Recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))
TEXT = """\
name = "tiny"
[corpus]
name = "ferplus"
[protocol]
name = "fixed"
[model]
name = "face-cnn"
[optimiser]
lr = 0.1
[schedule]
epochs = 2
[bundle]
licence = "none"
trained_on = "nothing"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(TEXT)
    return file


def refusal(path: Path, **overrides: str) -> str:
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    with pytest.raises(RecipeError) as raised:
        Recipe.read(path, given)
    return str(raised.value)


def test_there_are_recipes() -> None:
    assert "face-ferplus.toml" in [path.name for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_loads_and_names_a_network(path: Path) -> None:
    recipe = Recipe.read(path)
    assert recipe.name == path.stem
    job = prepare(recipe, ("anger", "happiness", "sadness"))
    if job.kind == "estimator":
        estimators.create(recipe.model.name, **recipe.model.options)
        own = estimators.ESTIMATORS[recipe.model.name].clip_spec
    else:
        with torch.device("meta"):
            own = models.create(recipe.model.name, **recipe.model.options).clip_spec
    assert job.spec.shapes() == own.shapes()
    assert (job.parameters is None) == (job.kind == "estimator") == (recipe.schedule is None)
    if recipe.published is not None:
        assert set(recipe.published.rows) <= set(papers()[recipe.published.paper].rows)


def test_a_recipe_is_resolved_with_its_defaults(path: Path) -> None:
    recipe = Recipe.read(path)
    assert recipe.schedule is not None
    assert recipe.optimiser is not None
    assert (recipe.seeds, recipe.schedule.batch_size, recipe.optimiser.name) == ((0,), 32, "adam")
    assert recipe.corpus.name == ("ferplus",)
    assert recipe.augmentation.flip == 0
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_recipe_cannot_be_changed(path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe.read(path).name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seeds", "[7, 8]", (7, 8)),
        ("schedule.epochs", "30", 30),
        ("optimiser.lr", "1e-3", 1e-3),
        ("optimiser.name", "adamw", "adamw"),  # a bare word is a string
        ("optimiser.name", '"adamw"', "adamw"),
        ("schedule.precision", "bf16-mixed", "bf16-mixed"),
        ("augmentation.scale", "[0.9, 1.1]", (0.9, 1.1)),
        ("augmentation.flip", "0.5", 0.5),  # a table that the file does not have
        ("model.options.widths", "[8, 16]", [8, 16]),
        ("corpus.labels", '["Happy", "sad"]', ("happiness", "sadness")),
        ("corpus.faces", "every-frame", "every-frame"),
        ("corpus.min_frames", "15", 15),
        ("evaluation.vote", "max-probability", "max-probability"),
        ("protocol", '{name = "group-k-fold", k = 5}', None),  # a whole table at once
    ],
)
def test_an_override_sets_a_dotted_key(path: Path, key: str, value: str, expected: Any) -> None:
    place: Any = Recipe.read(path, {key: value}).model_dump()
    for part in key.split("."):
        place = place[part]
    assert place["k"] == 5 if expected is None else place == expected


def test_other_keys_stay_as_the_file_has_them(path: Path) -> None:
    before, after = Recipe.read(path), Recipe.read(path, {"schedule.epochs": "9"})
    assert after.schedule is not None
    assert after.schedule.epochs == 9
    assert after.model_copy(update={"schedule": before.schedule}) == before


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ({"sees": "1"}, "unknown key 'sees'. Did you mean 'seeds'?"),
        ({"schedule__epoch": "1"}, "unknown key 'schedule.epoch'. Did you mean 'epochs'?"),
        ({"optimizer__lr": "1"}, "unknown key 'optimizer'. Did you mean 'optimiser'?"),
        ({"augmentation__rotate": "1"}, "'augmentation.rotate'. Did you mean 'rotate_deg'?"),
        ({"corpus__zzz": "1"}, "'corpus.zzz'. Known: detector, faces, labels, min_frames, name"),
        ({"protocol__holdot": "1"}, "unknown key 'protocol.holdot'. Did you mean 'holdout'?"),
        ({"protocol__k": "5"}, "'protocol.k'. Known: allow_leak, drop_twins, holdout, name, test."),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(
    path: Path, override: dict[str, str], hint: str
) -> None:
    message = refusal(path, **override)
    assert hint in message
    assert "\n" not in message


def test_a_misspelt_required_key_is_not_reported_as_missing_too(path: Path) -> None:
    path.write_text(TEXT.replace("epochs =", "epoch ="))
    assert refusal(path) == f"{path}: unknown key 'schedule.epoch'. Did you mean 'epochs'?"


def test_a_missing_key_is_named(path: Path) -> None:
    path.write_text(TEXT.replace("lr = 0.1", ""))
    assert refusal(path) == f"{path}: optimiser.lr: required, but missing."


def test_all_problems_are_reported_at_once_and_the_file_is_named_once(path: Path) -> None:
    path.write_text(TEXT.replace("epochs =", "epoch =").replace('name = "fixed"', 'name = "kfold"'))
    message = refusal(path, sees="1", optimiser__lr="-1", corpus__name="fer", model__search="3")
    assert message.count(str(path)) == 1
    first, *problems = message.splitlines()
    assert first == f"{path}: 6 problems:"
    starts = (
        "  unknown key 'schedule.epoch'. Did you mean 'epochs'?",
        "  unknown key 'sees'. Did you mean 'seeds'?",
        "  corpus.name: No corpus named 'fer'.",
        "  protocol.name: unknown name 'kfold'. Known: 'fixed', 'leave-one-subject-out'",
        "  model.search: ",
        "  optimiser.lr: Input should be greater than 0 (got -1).",
    )
    for start, problem in zip(starts, problems, strict=True):
        assert problem.startswith(start)


def test_a_check_of_the_whole_recipe_reports_all_it_finds(path: Path) -> None:
    changes = {"schedule__keep": "best-uar", "bundle__precision": "int8", "model__frozen": "true"}
    _, *problems = refusal(path, **changes).splitlines()
    assert problems == [
        "  bundle.precision is for networks, and not with model.frozen.",
        "  schedule.keep needs a protocol.holdout to choose the epoch on.",
    ]


def test_a_protocol_without_a_name_is_named(path: Path) -> None:
    message = refusal(path, protocol="{k = 5}")
    assert message == f"{path}: protocol.name: required, but missing."


def test_the_bundle_table_is_optional(path: Path) -> None:
    written = Recipe.read(path)
    assert (written.bundle.licence, written.trained_on) == ("none", "nothing")
    path.write_text(TEXT[: TEXT.index("[bundle]")])
    recipe = Recipe.read(path, {"corpus.name": '["ckplus", "ferplus"]'})
    assert recipe.bundle.licence == UNSTATED
    assert recipe.trained_on == "ckplus + ferplus"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"schedule__epochs": "0"}, "schedule.epochs: "),
        ({"schedule__epochs": "many"}, "(got 'many')"),
        ({"optimiser__lr": "-1"}, "optimiser.lr: "),
        ({"seeds": "[-1]"}, "seeds: must be different integers from 0 on"),
        ({"seeds": "[1, 1]"}, "seeds: must be different integers from 0 on"),
        ({"seeds": "[]"}, "seeds: "),
        ({"name": "a/b"}, "name: "),
        ({"corpus__name": "fer"}, "No corpus named 'fer'"),
        ({"protocol__name": "loso"}, "'leave-one-subject-out'"),
        ({"schedule__iterations": "10"}, "set either epochs or iterations"),
        ({"schedule__decay": "step"}, "schedule: step_iterations is for decay = 'step'"),
        ({"schedule__keep": "best-uar"}, "schedule.keep needs a protocol.holdout"),
        ({"augmentation__scale": "[1.2, 0.8]"}, "scale must be two positive, rising factors"),
        ({"schedule": "3"}, "schedule: "),
        ({"corpus__faces": "each"}, "corpus.faces: "),
        ({"corpus__min_frames": "-1"}, "corpus.min_frames: "),
        (
            {"evaluation__vote": "max-prob"},
            "No vote named 'max-prob'. Did you mean 'max-probability'?",
        ),
    ],
)
def test_a_wrong_value_is_named_by_its_key(
    path: Path, override: dict[str, str], expected: str
) -> None:
    message = refusal(path, **override)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert expected in message


def test_an_estimator_cannot_predict_blocks(path: Path) -> None:
    path.write_text(TEXT.replace("[optimiser]\nlr = 0.1\n[schedule]\nepochs = 2\n", ""))
    assert Recipe.read(path).schedule is None
    assert "evaluation.every is for networks" in refusal(path, evaluation__every="1")


def test_an_override_inside_a_value_is_refused(path: Path) -> None:
    assert refusal(path, name__first="1") == "name.first: name is a value, not a table."


@pytest.mark.parametrize(
    "content", [b"name = ", b"[corpus\n", b"\xff\xfe", b"name = 1\nname = 2\n"]
)
def test_invalid_toml_is_refused_in_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}: not a readable recipe: ")
    assert "\n" not in message


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in refusal(tmp_path / "none.toml")


def test_haar_stands_for_the_default_detector_of_whatever_the_network_looks_at() -> None:
    assert CorpusChoice(name=("folder",), detector="haar").detector_choice == "auto"
    assert CorpusChoice(name=("folder",), detector="lbp").detector_choice == "lbp"
