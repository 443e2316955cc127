"""The recipes of the whole body, on drawn figures that lie on disk as GEMEP does."""

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from asking import ask, lines, names

from emoscope.corpora.synthetic.corpus import synthesise
from emoscope.training.papers.published import papers
from emoscope.training.recipe import AugmentedRandom, Recipe
from emoscope.training.run_folder import read_run

RECIPES = Path(__file__).parents[3] / "recipes" / "deformable-convlstm"
PATHS = sorted(RECIPES.glob("*.toml"))
SYSTEMS = ("deformable-convlstm", "convlstm", "single-frame", "hog-klt", "mbmic")
LEAKY, BY_ACTOR = "augmented-random", "leave-one-actor-out"
PAPER = papers()["deformable-convlstm"]

everywhere = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_every_system_is_there_under_both_protocols() -> None:
    expected = {f"{s}-gemep-{protocol}" for s in SYSTEMS for protocol in (LEAKY, BY_ACTOR)}
    assert {path.stem for path in PATHS} == expected == {Recipe.read(p).name for p in PATHS}


def test_every_row_of_the_paper_has_one_recipe() -> None:
    published = [Recipe.read(path).published for path in PATHS]
    assert Counter(chain.from_iterable(p.rows for p in published if p)) == Counter(PAPER.rows)
    assert all(named and named.paper == "deformable-convlstm" for named in published)


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_recipes_of_a_system_differ_in_their_protocol_only(system: str) -> None:
    leaky, honest = (
        Recipe.read(RECIPES / f"{system}-gemep-{protocol}.toml") for protocol in (LEAKY, BY_ACTOR)
    )
    same = {"corpus", "clip", "model", "optimiser", "schedule", "evaluation", "seeds", "bundle"}
    assert leaky.model_dump(include=same) == honest.model_dump(include=same)
    if leaky.schedule is not None:  # an estimator learns from the variants themselves
        assert leaky.augmentation == honest.augmentation


@everywhere
def test_a_recipe_augments_as_the_paper_does_and_says_when_it_leaks(path: Path) -> None:
    recipe = Recipe.read(path)
    assert PAPER.augmentation is not None
    if recipe.schedule is not None or isinstance(recipe.protocol, AugmentedRandom):
        shift_px = PAPER.augmentation.shift_px
        expected = [shift_px / 720, shift_px / 576]
        assert recipe.augmentation.corner_shift == pytest.approx(expected, abs=1e-4)
        assert recipe.augmentation.rotate_deg == PAPER.augmentation.rotate_deg
        assert recipe.augmentation.brightness > 0 < len(recipe.augmentation.gaussian_blur)
    if isinstance(recipe.protocol, AugmentedRandom):
        videos = PAPER.augmentation.augmented / PAPER.augmentation.videos
        assert recipe.protocol.variants == round(videos)
    assert recipe.protocol.allow_leak == path.stem.endswith(LEAKY)


@pytest.fixture(scope="module")
def gemep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn actors, whose raised arms are joy and whose slump is sadness."""
    drawn = tmp_path_factory.mktemp("drawn")
    corpus = synthesise(drawn, kind="figures", subjects=3, clips=1, seconds=0.7, size_px=64)
    folder = tmp_path_factory.mktemp("gemep")
    for number, sample in enumerate(corpus.samples):
        code = "joi" if sample.label.startswith("raise") else "tri"
        shutil.copy(sample.path, folder / f"{sample.subject[2:]}_{code}{number}.mp4")
    return folder


@pytest.fixture(scope="module")
def reproduced(gemep: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Where the runs of two systems lie, small, and what `emoscope reproduce` said."""
    home = tmp_path_factory.mktemp("reproduced")
    (home / "recipes").mkdir()
    for path in PATHS:
        if path.stem.startswith(("deformable-convlstm", "mbmic")):
            small = path.read_text(encoding="utf-8").replace("iterations = 4500", "iterations = 2")
            small = small.replace("variants = 62", "variants = 3").replace(
                'name = "deformable-convlstm"\n\n[aug',
                'name = "deformable-convlstm"\n'
                "options = { width = 0.0625, frames = 8, size_px = 32 }\n\n[aug",
            )
            (home / "recipes" / path.name).write_text(small, encoding="utf-8")
    words: list[object] = ["--recipes", home / "recipes", "--out", home / "runs"]
    words += ["--cache", home / "cache", "--corpus", f"gemep={gemep}"]
    words += ["--set", 'corpus.labels=["joy", "sadness"]']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoscope.apps.training.export_bundle_of", lambda *_: None)
        return home / "runs", ask("reproduce", "deformable-convlstm", *words)


def test_reproduce_prints_both_protocols_and_the_gain_by_the_leak(
    reproduced: tuple[Path, Any],
) -> None:
    runs, ran = reproduced
    assert (ran.exit_code, ran.exception) == (0, None)
    table = (runs / "deformable-convlstm.md").read_text(encoding="utf-8")
    assert table.startswith("> **Warning, deformable-convlstm-gemep-augmented-random**: LEAK")
    added = table.partition("## Accuracy gained by the leak")[2].partition("## ")[0]
    rows = [line.strip("| ").split(" | ") for line in lines(added) if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["deformable-convlstm", "mbmic-svm"]
    assert all(row[7] == "3" for row in rows)


def test_an_estimator_learns_from_variants_of_the_frames(reproduced: tuple[Path, Any]) -> None:
    run = read_run(reproduced[0] / "mbmic-gemep-augmented-random")
    assert run.info["estimator"]
    assert len(run.samples) == 3 * 12
    answers = {tuple(probs) for probs in run.predictions().probs.round(6).tolist()}
    assert len(answers) > 2  # seven variants are judged, and each is another clip


def test_every_recipe_has_a_run(reproduced: tuple[Path, Any]) -> None:
    expected = {
        f"{s}-gemep-{p}" for s in ("deformable-convlstm", "mbmic") for p in (LEAKY, BY_ACTOR)
    }
    assert {*names(reproduced[0])} == {"deformable-convlstm.md", *expected}
