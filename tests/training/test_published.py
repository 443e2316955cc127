"""The papers' printed figures, and the tables that show them beside ours."""

from decimal import Decimal
from pathlib import Path

import pytest
from fake_runs import LEAK, fake_run

from emoscope.core.errors import RecipeError, UnknownName
from emoscope.training.published import papers, recipes_of, reproduction_table
from emoscope.training.recipe import Recipe
from emoscope.training.runs import Run, read_run

RECIPES = Path(__file__).parents[2] / "recipes"
TEXTS = {
    "deformable-convlstm": "000",
    "audio-visual": "001",
    "enhanced-convlstm": "002",
    "time-fusion": "003",
}


def run_of(folder: Path, row: str | None = None, **changes: object) -> Run:
    published = {"paper": "audio-visual", "row": row} if row else None
    return read_run(fake_run(folder, published=published, **changes))


def lines(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]


@pytest.mark.data
@pytest.mark.parametrize("key", TEXTS)
def test_every_figure_stands_in_its_papers_text(shared: Path, key: str) -> None:
    (path,) = (shared / "papers").glob(f"{TEXTS[key]}_*.txt")
    text = path.read_text(encoding="utf-8")
    paper = papers()[key]
    assert paper.title.lower() in text.lower()
    for row in (paper.rows[name] for name in paper.rows):
        printed = {f"{row.value}", f"{row.value.scaleb(-2)}"}
        assert any(figure in text for figure in printed), row
        assert row.parameters is None or f"{row.parameters:,}" in text, row
        assert row.train_seconds is None or f"{row.train_seconds}" in text, row


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


def test_ours_stands_beside_the_papers_and_never_in_its_columns(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "svc", name="ours-svc")
    alone, beside = (lines(reproduction_table("audio-visual", runs)) for runs in ([], [run]))
    assert [line[:5] for line in alone] == [line[:5] for line in beside]
    (changed,) = (b for a, b in zip(alone, beside, strict=True) if a != b)
    assert changed[:4] == [
        "support vector classifier (sound)",
        "afew",
        "training part against validation part",
        "39.64 %",
    ]
    assert changed[7:] == ["ours-svc", "folder; leave-one-group-out (groups 2)"]
    assert all(line[5:] == ["—"] * 4 for line in alone[2:])


def test_two_runs_of_one_row_have_a_line_each(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, "svc", name=name) for name in ("a", "b")]
    table = lines(reproduction_table("audio-visual", runs))
    assert [line[7] for line in table if line[3] == "39.64 %"] == ["a", "b"]


@pytest.mark.parametrize("published", [None, {"paper": "time-fusion", "row": "late-fusion-both"}])
def test_a_run_that_answers_to_no_row_is_listed_beneath(
    tmp_path: Path, published: dict[str, str] | None
) -> None:
    run = read_run(fake_run(tmp_path / "run", name="extra", published=published))
    printed, beneath = reproduction_table("audio-visual", [run]).split("## Runs that answer to no")
    assert "extra" in beneath
    assert "extra" not in printed


def test_sizes_and_times_stand_beside_the_papers_where_it_prints_any(tmp_path: Path) -> None:
    changes = {"published": {"paper": "time-fusion", "row": "late-fusion-ckplus"}}
    run = read_run(fake_run(tmp_path / "run", name="late", **changes))
    table = reproduction_table("time-fusion", [run])
    assert "| late fusion | ckplus | 28,954,696 | 1,282.78 | 1,234,567 | 10 | late |" in table
    assert "Size and training time" not in reproduction_table("audio-visual", [])


def test_a_leak_is_on_top_of_the_table(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "svc", name="ours", warnings=(LEAK,))
    assert reproduction_table("audio-visual", [run]).startswith(f"> **Warning, ours**: {LEAK}")


def test_a_row_or_paper_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'svc'"):
        reproduction_table("audio-visual", [run_of(tmp_path / "run", "svcs")])
    with pytest.raises(UnknownName, match="Did you mean 'audio-visual'"):
        reproduction_table("audiovisual", [])


def test_recipes_of_a_paper_are_found_by_their_published_table(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('odd = 1\n[published]\npaper = "audio-visual"\nrow = "svc"\n')
    (tmp_path / "a.toml").write_text('[published]\npaper = "audio-visual"\nrow = "vgg"\n')
    (tmp_path / "c.toml").write_text('[published]\npaper = "time-fusion"\nrow = "x"\n')
    (tmp_path / "d.toml").write_text('published = "audio-visual"\n')
    assert recipes_of("audio-visual", tmp_path) == [tmp_path / "a.toml", tmp_path / "b.toml"]
    with pytest.raises(RecipeError, match="no recipe says"):
        recipes_of("enhanced-convlstm", tmp_path)
    (tmp_path / "e.toml").write_text("[")
    with pytest.raises(RecipeError, match=r"e\.toml: not a readable recipe"):
        recipes_of("audio-visual", tmp_path)


def test_every_shipped_recipe_names_a_row_that_is_printed() -> None:
    for key in papers():
        try:
            shipped = recipes_of(key, RECIPES)
        except RecipeError:
            continue  # a paper whose recipes are to come
        for path in shipped:
            published = Recipe.read(path).published
            assert published is not None
            assert published.row in papers()[key].rows, path
