"""`emoscope evaluate` and `emoscope compare`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from asking import ask, assert_one_line, lines
from fake_runs import LEAK, fake_run

RUN = """
import sys
from emoscope.apps.cli import app
app(sys.argv[1:], standalone_mode=False)
print("loaded", *sorted({"torch", "lightning"} & set(sys.modules)))
"""


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [fake_run(tmp_path / name, name=name, draw=k) for k, name in enumerate("ab")]


def test_finished_runs_are_evaluated_and_compared_without_torch(runs: list[Path]) -> None:
    for words in (["evaluate", runs[0]], ["compare", *runs]):
        ran = subprocess.run(
            [sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        assert lines(ran.stdout)[-1] == "loaded"
    assert (runs[0] / "evaluation.html").is_file()


def test_evaluate_prints_the_main_metrics_and_the_page(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", warnings=(LEAK,))
    ran = ask("evaluate", run)
    assert ran.stderr == f"Warning: {LEAK}\n"
    metrics, page = lines(ran.stdout)
    share = r"\d+\.\d %"
    interval = rf"{share} \(\d+\.\d to \d+\.\d\)"
    assert re.fullmatch(
        rf"folder; .*: accuracy {interval}, UAR {interval}, macro-F1 {share}, ECE 0\.\d{{3}}; "
        "72 clips, intervals over subjects",
        metrics,
    )
    assert page == f"written: {run / 'evaluation.html'}"


def test_a_comparison_is_printed_or_written(runs: list[Path], tmp_path: Path) -> None:
    printed = ask("compare", *runs).stdout
    assert "## Pairs" in printed
    for suffix, start in (("md", "## Runs"), ("csv", "part,name,metric")):
        out = tmp_path / f"table.{suffix}"
        assert ask("compare", *runs, "--out", out).stdout == f"written: {out}\n"
        assert out.read_text(encoding="utf-8").startswith(start)
    refused = ask("compare", *runs, "--out", "table.xlsx")
    assert_one_line(refused, Path("table.xlsx"), "written as .md or .csv")


def test_all_problems_of_a_recipe_are_printed(tmp_path: Path) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text('name = "bad"\nsees = [1]\n[corpus]\nname = "fer"\n')
    ran = ask("evaluate", recipe)
    assert (ran.exit_code, ran.stdout) == (1, "")
    first, *problems = lines(ran.stderr)
    assert first == f"emoscope: {recipe}: 4 problems:"
    assert [line.split(":")[0].strip() for line in problems] == [
        "unknown key 'sees'. Did you mean 'seeds'?",
        "corpus.name",
        "protocol",
        "model",
    ]
