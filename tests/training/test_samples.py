"""Samples that a recipe asks for, and the options with which its corpora are read."""

from pathlib import Path
from typing import Any

import pytest
from planting import plant
from tiny_corpora import tiny_recipe

from emoscope.core.errors import CorpusError, RecipeError
from emoscope.training.recipe import CorpusChoice, Recipe
from emoscope.training.samples import choose_samples

PATTERN = r"x_(?P<emotion>...)__(?P<actor>\d)"


def gemep(root: Path) -> Path:
    return plant(root, [f"x_{code}__{actor}.mp4" for code in ("joi", "tri") for actor in (7, 8)])


def folder(root: Path) -> Path:
    return plant(root, [f"7/{label}/1.mp4" for label in ("joy", "sadness", "fear")])


def recipe(**corpus: Any) -> Recipe:
    return tiny_recipe(corpus=corpus)


def test_an_option_goes_to_the_corpora_that_take_it(tmp_path: Path) -> None:
    wanted = recipe(name=["gemep", "folder"], options={"pattern": PATTERN}, labels=["joy", "sad"])
    corpora = {"gemep": gemep(tmp_path / "gemep"), "folder": folder(tmp_path / "folder")}
    manifest = choose_samples(wanted, corpora)
    assert manifest.corpus == "gemep + folder"
    assert manifest.labels == ("joy", "sadness")
    subjects = {"folder: 7": 2, "gemep: 7": 2, "gemep: 8": 2}
    assert manifest.counts("subject") == subjects, "actor 7 of either corpus is another person"
    assert manifest.left_out == {"folder: label fear": 1}


def test_stored_recipes_with_a_pattern_of_their_own_are_read() -> None:
    choice = CorpusChoice.model_validate({"name": "gemep", "pattern": PATTERN})
    assert choice == CorpusChoice(name=("gemep",), options={"pattern": PATTERN})
    assert "pattern" not in choice.model_dump()
    assert CorpusChoice.model_validate({"name": ["folder"], "pattern": None}).options == {}
    again = CorpusChoice.model_validate_json(choice.model_dump_json())
    assert again == choice


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ('{name = "gemep", options = {patern = "x"}}', "Did you mean 'pattern'?"),
        ('{name = "folder", options = {pattern = "x"}}', "folder: no option named 'pattern'"),
        ('{name = "gemep", options = {pattern = 3}}', "gemep: option pattern = 3: "),
    ],
)
def test_an_option_that_no_corpus_takes_is_a_complaint_about_the_recipe(
    tmp_path: Path, corpus: str, message: str
) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\nprotocol = {name = "fixed"}\nmodel = {name = "face-cnn"}\n')
    with pytest.raises(RecipeError) as raised:
        Recipe.read(path, {"corpus": corpus, "bundle": '{licence = "", trained_on = ""}'})
    assert "corpus.options" in str(raised.value)
    assert message in str(raised.value)


def test_corpora_that_lack_what_is_asked_for_are_refused(tmp_path: Path) -> None:
    corpora = {"folder": folder(tmp_path)}
    with pytest.raises(RecipeError, match=r"no corpus has the label pride\. Known: fear, joy"):
        choose_samples(recipe(name="folder", labels=["joy", "pride"]), corpora)
    with pytest.raises(RecipeError, match=r"corpus\.where: no group 'light'. Known: none"):
        choose_samples(recipe(name="folder", where={"light": "dim"}), corpora)
    with pytest.raises(CorpusError, match="every sample has the label joy"):
        choose_samples(recipe(name="folder", labels=["joy"]), corpora)


# Issue 18, kind 4


def test_spellings_of_a_subject_become_one_within_a_corpus_and_are_noted(tmp_path: Path) -> None:
    """All that follows, as the bootstrap over persons, counts them as one."""
    names = ["7/joy/1.mp4", "7.0/fear/1.mp4", "Ann/joy/1.mp4", "ann/fear/1.mp4"]
    manifest = choose_samples(recipe(name="folder"), {"folder": plant(tmp_path, names)})
    assert manifest.counts("subject") == {"7": 2, "Ann": 2}
    assert [note.split(" differ")[0] for note in manifest.notes] == [
        "The subjects '7' and '7.0'",
        "The subjects 'Ann' and 'ann'",
    ]


def test_a_part_of_a_joined_recipe_gives_the_samples_that_it_adds(tmp_path: Path) -> None:
    wanted = recipe(name=["gemep", "folder"], options={"pattern": PATTERN}, labels=["joy", "sad"])
    corpora = {"gemep": gemep(tmp_path / "gemep"), "folder": folder(tmp_path / "folder")}
    both = {sample.path for sample in choose_samples(wanted, corpora).samples}
    parts = [choose_samples(wanted, {n: corpora[n]}, [n]).samples for n in ("gemep", "folder")]
    assert {sample.path for part in parts for sample in part} == both
