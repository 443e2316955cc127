"""`emoscope corpus augment-plan`."""

from pathlib import Path
from typing import Any

import pytest
from asking import ask, assert_one_line, lines
from tiny_corpora import make_corpus, tiny_recipe, write_toml

CHANGES = {"flip": 0.5, "shift": 0, "corner_shift": [0.03, 0.04]}


def plan(*words: object) -> Any:
    return ask("corpus", "augment-plan", *words)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve samples: two people, two labels, three each."""
    return make_corpus(tmp_path / "corpus", subjects=2, each=3)


def test_without_a_recipe_the_changes_of_the_paper_are_counted(corpus: Path) -> None:
    ran = plan("folder", corpus)
    assert (ran.exit_code, ran.stderr) == (0, "")
    told = lines(ran.stdout)
    assert told[0] == "folder: 12 samples, augmented as the paper states"
    assert "one kind at a time: 4 per sample, 48 in total" in told
    assert "not counted: rotation, Gaussian blur, brightness" in told
    assert "the paper (Section 3.1): 145 videos became 9,052, 62.4 per video" in told
    assert "not given, so not reproducible: the angles, " in told[-1]


def test_a_recipe_is_counted_on_the_samples_that_it_selects(corpus: Path, tmp_path: Path) -> None:
    protocol = {"name": "augmented-random-80-20", "variants": 62}
    recipe = write_toml(tiny_recipe(augmentation=CHANGES, protocol=protocol), tmp_path / "a.toml")
    told = lines(plan("folder", corpus, "--recipe", recipe).stdout)
    assert told[:2] == [
        "folder: 12 samples, augmented as in tiny",
        "augmented-random-80-20 draws 62 variants per sample, 744 in total",
    ]
    assert "all combined: 2 x 5 = 10 per sample, 120 in total, including the unchanged one" in told
    make_corpus(tmp_path / "more", subjects=1, each=1)
    (tmp_path / "more" / "p0" / "sadness").rename(corpus / "p0" / "fear")
    wanted = {"name": "folder", "labels": ["happiness", "sadness"]}
    narrow = write_toml(tiny_recipe(augmentation=CHANGES, corpus=wanted), tmp_path / "b.toml")
    told = lines(plan("folder", corpus, "--recipe", narrow).stdout)
    assert told[0] == "folder: 12 samples, augmented as in tiny"
    assert not any("draws" in line for line in told)


def test_a_recipe_for_another_corpus_and_options_beside_a_recipe_are_refused(
    corpus: Path, tmp_path: Path
) -> None:
    recipe = write_toml(tiny_recipe(), tmp_path / "a.toml")
    assert_one_line(
        plan("gemep", corpus, "--recipe", recipe), recipe, "the recipe is for folder, not for gemep"
    )
    ran = plan("folder", corpus, "--recipe", recipe, "--option", "pattern=x")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "Set corpus.options in the recipe" in ran.stderr
