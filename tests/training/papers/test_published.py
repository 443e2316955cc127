"""The papers' printed figures, and the recipes that reproduce them."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from emoscope.core.errors import RecipeError, UnknownName
from emoscope.training.augment import PLACES
from emoscope.training.papers.published import papers, recipes_of
from emoscope.training.recipe import PublishedRow, Recipe

RECIPES = Path(__file__).parents[3] / "recipes"
TEXTS = {
    "deformable-convlstm": "000",
    "audio-visual": "001",
    "enhanced-convlstm": "002",
    "time-fusion": "003",
}


@pytest.mark.data
@pytest.mark.parametrize("key", TEXTS)
def test_every_figure_occurs_in_its_papers_text(shared: Path, key: str) -> None:
    (path,) = (shared / "papers").glob(f"{TEXTS[key]}_*.txt")
    text = path.read_text(encoding="utf-8")
    paper = papers()[key]
    assert paper.title.lower() in text.lower()
    for row in (paper.rows[name] for name in paper.rows):
        printed = {f"{row.value}", f"{row.value.scaleb(-2)}"}
        assert any(figure in text for figure in printed), row
        assert row.parameters is None or f"{row.parameters:,}" in text, row
        assert row.train_seconds is None or f"{row.train_seconds}" in text, row
        assert row.clips is None or f"{row.clips} sequences" in text, row
        figures = re.findall(r"\d+", row.pictures or "")
        assert all(f"Fig. {number}:" in text for number in figures), row
    assert paper.machine is None or paper.machine in text
    if paper.augmentation is not None:
        printed_of = paper.augmentation
        assert f"{printed_of.videos} videos representing" in text
        assert f"Finally, we had {printed_of.augmented} videos" in text
        assert printed_of.corners == len(PLACES) - 1  # "four", and the centre
        assert f"four different corners by {printed_of.shift_px} pixels" in text
        assert f"-{printed_of.rotate_deg}^\\circ" in text
    if paper.faces is not None:
        assert f"{paper.faces.missed} faces of {paper.faces.frames} had not been detected" in text


def test_figures_keep_the_digits_that_are_printed() -> None:
    time_fusion = papers()["time-fusion"].rows
    assert str(time_fusion["single-frame-max-oulu-casia"].value) == "56.0"
    assert time_fusion["cnn-gru-ckplus"].value == Decimal(29)
    assert str(papers()["enhanced-convlstm"].rows["mansoorizadeh"].value) == "38.00"


def test_every_figure_is_a_percentage_of_something_named() -> None:
    rows = [p.rows[r] for p in (papers()[key] for key in papers()) for r in p.rows]
    assert len(rows) == 40
    for row in rows:
        assert 25 < row.value < 100, row
        assert all((row.system, row.corpus, row.protocol, row.where)), row
        assert row.metric == "accuracy"


def test_recipes_of_a_paper_are_found_by_their_published_table(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('odd = 1\n[published]\npaper = "audio-visual"\nrow = "svc"\n')
    (tmp_path / "a.toml").write_text('[published]\npaper = "audio-visual"\nrow = "vgg"\n')
    (tmp_path / "c.toml").write_text('[published]\npaper = "time-fusion"\nrow = "x"\n')
    (tmp_path / "d.toml").write_text('published = "audio-visual"\n')
    assert recipes_of("audio-visual", tmp_path) == [tmp_path / "a.toml", tmp_path / "b.toml"]
    with pytest.raises(UnknownName, match="Did you mean 'audio-visual'"):
        recipes_of("audiovisual", tmp_path)
    with pytest.raises(RecipeError, match=r"no recipe with \[published\]"):
        recipes_of("enhanced-convlstm", tmp_path)
    (tmp_path / "e.toml").write_text("[")
    with pytest.raises(RecipeError, match=r"e\.toml: not a readable recipe"):
        recipes_of("audio-visual", tmp_path)


def test_every_shipped_recipe_names_an_existing_row() -> None:
    for key in papers():
        try:
            shipped = recipes_of(key, RECIPES)
        except RecipeError:
            continue  # a paper whose recipes are to come
        for path in shipped:
            published = Recipe.read(path).published
            assert published is not None
            assert set(published.rows) <= set(papers()[key].rows), path


def test_a_recipe_reproduces_one_row_or_one_per_vote_or_none() -> None:
    by_vote = {"max-probability": "a", "sum-probability": "b"}
    assert PublishedRow(paper="time-fusion", row="c").rows == ("c",)
    assert PublishedRow(paper="time-fusion", by_vote=by_vote).rows == ("a", "b")
    assert PublishedRow(paper="time-fusion").rows == ()
    with pytest.raises(ValidationError, match="row or by_vote"):
        PublishedRow(paper="time-fusion", row="c", by_vote=by_vote)
    with pytest.raises(ValidationError, match="Did you mean 'max-probability'"):
        PublishedRow(paper="time-fusion", by_vote={"max-probabilty": "a"})
