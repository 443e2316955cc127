"""A paper's results beside ours."""

import re
from pathlib import Path
from typing import Any

import pytest
from fake_runs import LABELS, LEAK, fake_run

from emoscope.core.errors import RecipeError, UnknownName
from emoscope.training.evaluation.evaluate import evaluate, judge
from emoscope.training.papers.published import papers
from emoscope.training.papers.reproduce import reproduction_table
from emoscope.training.run_folder import RunFolder, read_json, read_run, write_json

BY_VOTE = {
    "max-probability": "single-frame-max-ckplus",
    "sum-probability": "single-frame-sum-ckplus",
}


def run_of(folder: Path, row: str | None = None, **changes: Any) -> RunFolder:
    published = {"paper": "audio-visual", "row": row} if row else None
    return read_run(fake_run(folder, published=published, **changes))


def time_fusion(folder: Path, row: str | None = None, **info: Any) -> RunFolder:
    """A run of the paper, whose run.json is changed."""
    fake_run(folder, name=folder.name, published={"paper": "time-fusion", "row": row})
    write_json(folder / "run.json", {**read_json(folder / "run.json"), **info})
    return read_run(folder)


def voted(folder: Path, every: int = 1) -> RunFolder:
    """A run whose clips were judged by both votes, or, without blocks, by the sum alone."""
    fake_run(
        folder,
        name=folder.name,
        evaluation={"every": every, "vote": "sum-probability"},
        published={"paper": "time-fusion", "by_vote": BY_VOTE},
    )
    return read_run(folder)


def lines(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]


def part(table: str, title: str) -> list[list[str]]:
    """The rows beneath a heading, or one that begins so."""
    found = [text for text in table.split("## ")[1:] if text.startswith(title)]
    return lines(found[0])[2:] if found else []


def test_ours_never_stand_in_the_papers_columns(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "svc", name="ours-svc")
    alone, beside = (
        part(reproduction_table("audio-visual", runs, tmp_path), "Results") for runs in ([], [run])
    )
    assert [line[:6] for line in alone] == [line[:6] for line in beside]
    (changed,) = (b for a, b in zip(alone, beside, strict=True) if a != b)
    assert changed[:4] == [
        "support vector classifier (sound)",
        "afew",
        "training part against validation part",
        "39.64 %",
    ]
    assert changed[8:] == ["72", "ours-svc", "folder; leave-one-group-out (groups 2)"]
    assert all(line[6:] == ["—"] * 5 for line in alone)


def test_each_run_of_a_row_has_its_own_line(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, "svc", name=name) for name in ("a", "b")]
    table = lines(reproduction_table("audio-visual", runs, tmp_path))
    assert [line[9] for line in table if "39.64 %" in line] == ["a", "b"]


@pytest.mark.parametrize(
    "published",
    [None, {"paper": "time-fusion", "row": "late-fusion-both"}, {"paper": "audio-visual"}],
)
def test_a_run_of_no_row_is_listed_below(tmp_path: Path, published: dict[str, str] | None) -> None:
    run = read_run(fake_run(tmp_path / "run", name="extra", published=published))
    table = reproduction_table("audio-visual", [run], tmp_path)
    printed, beneath = table.split("## Runs of no row")
    assert "| extra | " in beneath
    assert "| 1,234,567 | 10 |" in beneath
    assert "extra" not in printed


def test_sizes_and_times_stand_beside_the_papers_if_it_gives_any(tmp_path: Path) -> None:
    late = time_fusion(tmp_path / "late", "late-fusion-ckplus", machine="a small one")
    table = reproduction_table("time-fusion", [late], tmp_path)
    assert "| late fusion | ckplus | 28,954,696 | 1,282.78 | 1,234,567 | 10 | late |" in table
    assert "on NVIDIA GEFORCE 940M. Ours: median over folds and seeds, on a small one." in table
    assert "Size and training time" not in reproduction_table("audio-visual", [], tmp_path)


def test_one_run_fills_the_row_of_each_vote_with_that_votes_figures(tmp_path: Path) -> None:
    run = voted(tmp_path / "single")
    by_vote = evaluate(run.folder)["figures"]["by_vote"]
    assert by_vote["max-probability"] != by_vote["sum-probability"]
    table = reproduction_table("time-fusion", [run], tmp_path)
    for vote, word in (("max-probability", "maximum"), ("sum-probability", "summing")):
        (row,) = (
            line for line in part(table, "Results") if line[9] == "single" and word in line[0]
        )
        assert row[1] == "ckplus"
        assert row[6].startswith(f"{100 * by_vote[vote]['accuracy']:.1f} % (")
        assert row[7].startswith(f"{100 * by_vote[vote]['uar']:.1f} % (")
        assert row[10].endswith(f"; by {vote}")
        p = judge(run, vote).predictions
        matrix = part(table, f"Confusion matrix of single by {vote}")
        right = sum(int(matrix[k][k + 1]) for k in range(len(LABELS)))
        assert right == (p.truth == p.predicted).sum()
    assert "Runs of no row" not in table


def test_a_vote_without_predictions_is_refused(tmp_path: Path) -> None:
    run = voted(tmp_path / "single", every=0)
    with pytest.raises(RecipeError, match="no predictions by the vote max-probability"):
        reproduction_table("time-fusion", [run], tmp_path)


def test_our_confusion_matrices_are_printed(tmp_path: Path) -> None:
    run = time_fusion(tmp_path / "late", "late-fusion-ckplus")
    figures = evaluate(run.folder)["figures"]
    rows = part(reproduction_table("time-fusion", [run], tmp_path), "Confusion matrix of late")
    assert [row[0] for row in rows] == list(LABELS)
    assert [[int(cell) for cell in row[1:]] for row in rows] == figures["confusion"]


def test_links_to_pages_are_relative_to_the_table(tmp_path: Path) -> None:
    run = time_fusion(tmp_path / "my runs" / "late", "late-fusion-ckplus")
    before = reproduction_table("time-fusion", [run], tmp_path / "my runs")
    assert "](" not in before, "its page is not written yet"
    evaluate(run.folder)
    for folder, link in (
        (tmp_path / "my runs", "late/evaluation.html"),
        (tmp_path / "pages", "../my%20runs/late/evaluation.html"),
    ):
        table = reproduction_table("time-fusion", [run], folder)
        (row,) = (line for line in part(table, "Training curves") if line[3] != "—")
        assert row == ["late fusion", "ckplus", "Figures 22 and 23", f"[late]({link})"]
    page = (run.folder / "evaluation.html").read_text(encoding="utf-8")
    assert {"Confusion matrix: rows are the truth", "loss over epochs"} <= set(
        re.findall(r'aria-label="([^"]*)"', page)
    )


def test_frames_without_a_face_stand_beside_the_papers(tmp_path: Path) -> None:
    one = {"clips": 3, "faceless_clips": 0, "frames": 45, "without_face": 2}
    faces = {"anger": one, "fear": {**one, "without_face": 0}}
    runs = [time_fusion(tmp_path / name, faces=faces) for name in ("a", "b")]
    more = time_fusion(tmp_path / "c", faces={"anger": one})
    none = time_fusion(tmp_path / "d")
    table = reproduction_table("time-fusion", [*runs, more, none], tmp_path)
    rows = part(table, "Frames without a detected face")
    assert [[row[0], *row[2:]] for row in rows] == [
        ["253 of 36,575", "2 of 90", "folder, detector haar", "a, b"],
        ["253 of 36,575", "2 of 45", "folder, detector haar", "c"],
    ]
    assert (
        part(reproduction_table("audio-visual", runs, tmp_path), "Frames without a detected face")
        == []
    )


def test_a_leak_is_on_top_of_the_table(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "svc", name="ours", warnings=(LEAK,))
    table = reproduction_table("audio-visual", [run], tmp_path)
    assert table.startswith(f"> **Warning, ours**: {LEAK}")


def test_an_unknown_row_or_paper_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'svc'"):
        reproduction_table("audio-visual", [run_of(tmp_path / "run", "svcs")], tmp_path)
    with pytest.raises(UnknownName, match="Did you mean 'audio-visual'"):
        reproduction_table("audiovisual", [], tmp_path)


def test_every_figure_of_every_paper_has_a_line(tmp_path: Path) -> None:
    for key in papers():
        rows = part(reproduction_table(key, [], tmp_path), "Results")
        assert len(rows) == len(papers()[key].rows)
