"""The recipes of the enhanced ConvLSTM's ablation, on drawn faces laid out as eNTERFACE'05 is."""

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from asking import ask, lines, names

from emoscope.corpora.synthetic.corpus import synthesise
from emoscope.training.papers.published import papers
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import read_run

RECIPES = Path(__file__).parents[3] / "recipes" / "enhanced-convlstm"
PATHS = sorted(RECIPES.glob("*.toml"))
ABLATION = {
    "resnet-streams": (("dynamic_rgb", "dynamic_flow"), "enhanced"),  # no cell, whatever is said
    "convlstm-streams": (("rgb", "flow"), "conventional"),
    "enhanced-streams": (("rgb", "flow"), "enhanced"),
    "convlstm-resnet": (("rgb", "flow", "dynamic_rgb", "dynamic_flow"), "conventional"),
    "four-stream": (("rgb", "flow", "dynamic_rgb", "dynamic_flow"), "enhanced"),
}
QUOTED = {"mansoorizadeh", "bejani", "zhalehpour"}  # rows of methods that nobody describes here
SMALL = {
    "schedule.epochs": "1",
    "schedule.precision": "32-true",
    "protocol.groups": "2",
    "corpus.detector": "none",
    "corpus.labels": '["happiness", "sadness"]',
}


def test_every_row_of_the_ablation_is_a_recipe() -> None:
    expected = {f"{name}-enterface05" for name in (*ABLATION, "vgg19-lstm")}
    assert {path.stem for path in PATHS} == expected == {Recipe.read(path).name for path in PATHS}
    for name, (streams, cell) in ABLATION.items():
        options = Recipe.read(RECIPES / f"{name}-enterface05.toml").model.options
        assert tuple(options.get("streams", ABLATION["four-stream"][0])) == streams
        assert options.get("cell", "enhanced") == cell


def test_every_row_that_can_be_built_has_one_recipe() -> None:
    published = [Recipe.read(path).published for path in PATHS]
    rows = Counter(chain.from_iterable(named.rows for named in published if named))
    assert rows == Counter(set(papers()["enhanced-convlstm"].rows) - QUOTED)
    assert all(named and named.paper == "enhanced-convlstm" for named in published)


def test_recipes_differ_in_their_network_only() -> None:
    recipes = [Recipe.read(path) for path in PATHS]
    same = {"corpus", "protocol", "clip", "augmentation", "optimiser", "schedule", "evaluation"}
    kinds = {recipe.model_dump_json(include=same) for recipe in recipes}
    assert len(kinds) == 1
    assert recipes[0].protocol.model_dump(include={"name", "groups"}) == {
        "name": "leave-one-group-out",
        "groups": 5,
    }


@pytest.fixture(scope="module")
def enterface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn subjects who smile for happiness and frown for sadness."""
    drawn = tmp_path_factory.mktemp("drawn")
    corpus = synthesise(drawn, subjects=2, clips=1, seconds=0.5, size_px=64)
    root = tmp_path_factory.mktemp("enterface")
    for sample in corpus.samples:
        number, label = int(sample.subject[1:]), sample.label
        if label.endswith("sudden"):
            emotion, code = ("happiness", "ha") if label.startswith("smile") else ("sadness", "sa")
            folder = root / f"subject {number}" / emotion / "sentence 1"
            folder.mkdir(parents=True)
            shutil.copy(sample.path, folder / f"s{number}_{code}_1.mp4")
    return root


@pytest.fixture(scope="module")
def reproduced(enterface: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Where the runs of three rows lie, small, and what `emoscope reproduce` said."""
    home = tmp_path_factory.mktemp("reproduced")
    (home / "recipes").mkdir()
    for name in ("resnet-streams", "convlstm-streams", "four-stream"):
        text = (RECIPES / f"{name}-enterface05.toml").read_text(encoding="utf-8")
        small = "width = 0.0625, frames = 3, size_px = 32"
        if "options" in text:
            text = text.replace("options = { ", f"options = {{ {small}, ")
        else:
            text = text.replace(
                'name = "four-stream"\n', f'name = "four-stream"\noptions = {{ {small} }}\n'
            )
        (home / "recipes" / f"{name}.toml").write_text(text, encoding="utf-8")
    words: list[object] = ["--recipes", home / "recipes", "--out", home / "runs"]
    words += ["--cache", home / "cache", "--corpus", f"enterface05={enterface}"]
    words += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoscope.apps.training.export_bundle_of", lambda *_: None)
        return home / "runs", ask("reproduce", "enhanced-convlstm", *words)


def test_reproduce_prints_ours_beside_tables_one_and_two(reproduced: tuple[Path, Any]) -> None:
    runs, ran = reproduced
    assert (ran.exit_code, ran.exception) == (0, None)
    table = (runs / "enhanced-convlstm.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in lines(table) if line.startswith("| ")]
    printed = {row[0]: row[3] for row in rows if len(row) == 11}
    assert printed["(e) Enhanced ConvLSTM and ResNet streams"] == "45.29 %"
    assert printed["Pan et al., VGG-19 and LSTM"] == "42.98 %"
    answered = {row[9] for row in rows if len(row) == 11 and row[9].endswith("enterface05")}
    assert answered == {"convlstm-streams-enterface05", "four-stream-enterface05"}
    assert "| resnet-streams-enterface05 | " in table.split("## Runs of no row")[1]
    assert table.count("## Confusion matrix of ") == 3
    assert len(names(runs)) == 4


def test_all_four_streams_reach_the_network(reproduced: tuple[Path, Any]) -> None:
    run = read_run(reproduced[0] / "four-stream-enterface05")
    assert len(run.samples) == 4
    assert [fold["name"] for fold in run.folds] == ["group 1", "group 2"]
    assert not run.info["warnings"]
