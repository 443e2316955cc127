"""The training commands: files, output and errors."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from asking import ask, lines, names
from tiny_corpora import make_corpus, tiny_recipe, write_toml

from emoscope.analysis.bundle import load_bundle
from emoscope.apps.cli import app
from emoscope.training.papers.published import papers
from emoscope.training.run_folder import read_json, read_run

LEAKY = {"name": "augmented-random-80-20", "variants": 2, "allow_leak": True}
LEAK = "LEAK: fold 'augmented-random' has the same subjects"
REFERENCE = Path(__file__).parents[2] / "docs" / "make_reference.py"
FIGURES = re.compile(
    r"folder; .*: accuracy \d+\.\d % \(\d+\.\d to \d+\.\d\), UAR \d+\.\d % \(.*\), "
    r"macro-F1 \d+\.\d %, ECE 0\.\d{3}; \d+ clips, intervals over subjects"
)


class Home(NamedTuple):
    """A working folder with a corpus, recipes, and the output of training them."""

    folder: Path
    clean: Any
    leaky: Any

    @property
    def corpus(self) -> tuple[str, str]:
        return "--corpus", f"folder={self.folder / 'corpus'}"

    @property
    def cache(self) -> tuple[object, ...]:
        return "--cache", self.folder / "cache"


def train(home: Path, toml: str, *words: object) -> Any:
    corpus = f"folder={home / 'corpus'}"
    return ask("train", home / toml, "--corpus", corpus, "--cache", home / "cache", *words)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Two runs in runs/: `clean`, of three persons and two seeds, and `leaky`."""
    folder = tmp_path_factory.mktemp("home")
    make_corpus(folder / "corpus")
    clean = tiny_recipe(name="clean", seeds=[0, 1], schedule={"epochs": 2})
    write_toml(clean, folder / "clean.toml")
    leaky = tiny_recipe(name="leaky", protocol=LEAKY, schedule={"epochs": 1})
    write_toml(leaky, folder / "leaky.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Home(folder, train(folder, "clean.toml"), train(folder, "leaky.toml"))


@pytest.fixture
def runs(home: Home) -> Path:
    return home.folder / "runs"


def test_train_leaves_an_evaluated_run_and_its_bundle(home: Home, runs: Path) -> None:
    ran = home.clean
    assert (ran.exit_code, ran.exception) == (0, None)
    printed = lines(ran.stdout)
    assert FIGURES.fullmatch(printed[0])
    assert printed[1] == "written: runs/clean/evaluation.html"
    assert re.fullmatch(r"runs/clean/clean\.onnx: clean 1, 0\.\d MB", printed[2])
    assert len(printed) == 3
    assert names(runs / "clean") == [
        "bundle.json",
        "clean.md",
        "clean.onnx",
        "corpus.csv",
        "evaluation.csv",
        "evaluation.html",
        "evaluation.json",
        "evaluation.md",
        "final",
        "folds",
        "folds.json",
        "recipe.json",
        "run.json",
    ]
    part = runs / "clean" / "folds" / "p0" / "seed-1"
    assert names(part) == ["fold.json", "metrics.csv", "predictions.csv"]
    assert names(runs / "clean" / "final") == ["seed-0"]
    assert names(runs / "clean" / "final" / "seed-0") == ["fold.json", "metrics.csv", "weights.pt"]


def test_train_prints_its_progress_in_lines(home: Home) -> None:
    printed = lines(home.clean.stderr)
    assert printed[0].startswith("clips prepared: ")
    begun = [line for line in printed if re.fullmatch(r"\d of 7 \(\w+, seed \d\)", line)]
    assert begun[0] == "1 of 7 (p0, seed 0)"
    assert begun[-1] == "7 of 7 (p2, seed 1)"
    assert re.search(
        r"1 of 7 \(p0, seed 0\): epoch 2, loss 0\.\d{3}, 0:0\d left", home.clean.stderr
    )
    assert "Warning" not in home.clean.stderr


def test_the_bundle_contains_the_figures(runs: Path) -> None:
    card = load_bundle(runs / "clean" / "clean.onnx").card
    assert card.labels == ("happiness", "sadness")
    figures = read_json(runs / "clean" / "evaluation.json")["figures"]
    assert card.figures["uar"] == figures["uar"]
    assert figures["samples"] == 24
    assert figures["seeds"] == 2


def test_a_leak_is_reported_in_every_output_of_a_run(home: Home, runs: Path) -> None:
    assert home.leaky.exit_code == 0
    assert f"Warning: {LEAK}" in home.leaky.stderr
    for name in ("evaluation.md", "evaluation.csv", "evaluation.json", "leaky.md", "run.json"):
        assert LEAK in (runs / "leaky" / name).read_text(encoding="utf-8"), name
    page = (runs / "leaky" / "evaluation.html").read_text(encoding="utf-8")
    assert LEAK in page.replace("&#39;", "'")
    (warning,) = load_bundle(runs / "leaky" / "leaky.onnx").card.figures["warnings"]
    assert warning.startswith(LEAK)
    assert f"Warning: {LEAK}" in ask("evaluate", runs / "leaky").stderr
    compared = ask("compare", runs / "clean", runs / "leaky").stdout
    assert f"> **Warning**: leaky: {LEAK}" in compared


def test_evaluate_takes_a_run_folder_or_a_recipe(home: Home, runs: Path) -> None:
    before = (runs / "clean" / "evaluation.json").read_bytes()
    for name in ("md", "csv", "html", "json"):
        (runs / "clean" / f"evaluation.{name}").unlink()
    for words in (["runs/clean"], ["clean.toml"]):
        ran = ask("evaluate", *words)
        assert (ran.exit_code, ran.stderr) == (0, "")
        assert lines(ran.stdout) == lines(home.clean.stdout)[:2]
    assert (runs / "clean" / "evaluation.json").read_bytes() == before


def test_evaluate_needs_no_corpus(home: Home) -> None:
    away = (home.folder / "corpus").rename(home.folder / "away")
    try:
        assert ask("evaluate", "runs/clean").exit_code == 0
    finally:
        away.rename(home.folder / "corpus")


def test_export_writes_the_bundle_elsewhere_with_its_card(home: Home, tmp_path: Path) -> None:
    ran = ask("export", "runs/clean", "-o", tmp_path / "mine.onnx")
    assert ran.exit_code == 0
    assert lines(ran.stdout)[0].startswith(f"{tmp_path}/mine.onnx: clean 1, 0.")
    assert names(tmp_path) == ["mine.md", "mine.onnx"]
    assert load_bundle(tmp_path / "mine.onnx").labels == ("happiness", "sadness")


def test_compare_prints_a_table_or_writes_it(home: Home, tmp_path: Path) -> None:
    ran = ask("compare", "runs/clean", "runs/leaky")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert "| clean | face-cnn | folder | leave-one-subject-out |" in ran.stdout
    for suffix in ("md", "csv"):
        out = tmp_path / f"table.{suffix}"
        message = ask("compare", "runs/clean", "runs/leaky", "-o", out)
        assert lines(message.stdout) == [f"written: {out}"]
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == ran.stdout[:-1]
    assert (tmp_path / "table.csv").read_text().startswith("part,name,metric,value,low,high\n")
    message = ask("compare", "runs/clean", "runs/leaky", "-o", tmp_path / "table.txt")
    assert message.exit_code == 1
    assert "written as .md or .csv" in message.stderr
    message = ask("compare", "runs/clean")
    assert (message.exit_code, lines(message.stderr)) == (
        1,
        ["emoscope: A comparison needs two or more runs. Give their folders."],
    )


def test_resuming_a_finished_run_only_evaluates_it(home: Home, runs: Path) -> None:
    weights = runs / "clean" / "final" / "seed-0" / "weights.pt"
    before = weights.stat().st_mtime_ns
    ran = ask("train", "--resume", "runs/clean", *home.cache)
    assert ran.exit_code == 0
    assert lines(ran.stdout) == lines(home.clean.stdout)
    assert lines(ran.stderr) == [], "its corpus is not even looked at"
    assert weights.stat().st_mtime_ns == before


def test_only_a_missing_fold_is_trained(home: Home, runs: Path) -> None:
    run = read_run(runs / "clean")
    before = run.predictions().probs
    (run.part("p1", 1) / "fold.json").unlink()
    message = ask("evaluate", "runs/clean")
    assert message.exit_code == 1
    assert lines(message.stderr) == [
        "emoscope: runs/clean: only 5 of 6 folds are finished. "
        "Resume it with `emoscope train --resume runs/clean`."
    ]
    ran = ask("train", "--resume", "runs/clean", *home.cache)
    assert ran.exit_code == 0
    assert [line for line in lines(ran.stderr) if "seed" in line and ":" not in line] == [
        "6 of 7 (p1, seed 1)"
    ]
    assert (run.predictions().probs == before).all()


def test_settings_change_the_recipe_and_are_kept(home: Home, tmp_path: Path) -> None:
    changes = ["--set", "schedule.epochs=1", "--set", "seeds=[5]", "--set", "protocol.name=fixed"]
    ran = train(home.folder, "clean.toml", "--out", tmp_path / "run", *changes)
    assert ran.exit_code == 1
    assert lines(ran.stderr)[-1] == ("emoscope: The corpus has no part 'train'. Known: none.")
    assert names(tmp_path) == []
    changes[-1] = 'protocol={name = "stratified-group-holdout"}'
    ran = train(home.folder, "clean.toml", "--out", tmp_path / "run", *changes)
    assert ran.exit_code == 0
    recipe = read_run(tmp_path / "run").recipe
    assert recipe.seeds == (5,)
    assert recipe.schedule is not None
    assert recipe.schedule.epochs == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["clean.toml"], 1, "emoscope: clean needs folder: add --corpus NAME=FOLDER."),
        (
            ["clean.toml", "--corpus", "folder=nowhere"],
            1,
            "emoscope: nowhere: no such file or folder. Give the folder that holds folder.",
        ),
        (["none.toml"], 1, "emoscope: none.toml: not a readable recipe: "),
        (
            ["clean.toml", "--set", "schedule.epoch=1"],
            1,
            "emoscope: clean.toml: unknown key 'schedule.epoch'. Did you mean 'epochs'?",
        ),
        (["clean.toml", "--set", "model.name=face-cn"], 2, "no model named 'face-cn'"),
        (["clean.toml", "--set", "epochs"], 2, "'epochs' is not of the form --set KEY=VALUE."),
        (
            ["clean.toml", "--corpus", "corpus"],
            2,
            "'corpus' is not of the form --corpus NAME=FOLDER",
        ),
        ([], 2, "a recipe (TOML), or --resume RUN."),
        (["clean.toml", "--resume", "runs/clean"], 2, "the run has its recipe"),
        (["--resume", "nowhere"], 1, "emoscope: nowhere: not a run folder: recipe.json, "),
        (
            ["clean.toml", "--accelerator", "tpu"],
            1,
            "This machine cannot train with these settings: ",
        ),
        (["clean.toml", "--devices", "0"], 2, "--devices"),
    ],
)
def test_training_errors_are_one_line(
    home: Home, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    place: list[object] = [] if "--resume" in words else ["--out", tmp_path / "run"]
    needs = "--set" in words or "--accelerator" in words
    ran = ask("train", *words, *(home.corpus if needs else ()), *home.cache, *place)
    assert ran.exit_code == code
    assert ran.stdout == ""
    assert message in ran.stderr
    if code == 1:
        assert lines(ran.stderr)[-1].startswith("emoscope: ")
        assert len([line for line in lines(ran.stderr) if line.startswith("emoscope: ")]) == 1


def test_an_existing_run_is_not_overwritten(home: Home) -> None:
    ran = train(home.folder, "clean.toml")
    assert ran.exit_code == 1
    assert lines(ran.stderr) == [
        "emoscope: runs/clean: holds a run. Resume it with --resume, or use another folder."
    ]


@pytest.mark.parametrize("command", ["evaluate", "compare", "export"])
def test_a_folder_that_is_not_a_run_is_refused(home: Home, command: str, tmp_path: Path) -> None:
    more = {"evaluate": [], "compare": ["runs/clean"], "export": ["-o", tmp_path / "a.onnx"]}
    ran = ask(command, "corpus", *more[command])
    assert (ran.exit_code, ran.stdout) == (1, "")
    (line,) = lines(ran.stderr)
    assert line.startswith("emoscope: corpus: not a run folder: recipe.json, ")


@pytest.fixture(scope="module")
def reproduced(home: Home) -> tuple[Path, Any]:
    """Two recipes of one paper, one of them without its corpus, and one without a paper."""
    folder = home.folder / "recipes"
    folder.mkdir()
    row = {"paper": "time-fusion", "row": "cnn-gru-ckplus"}
    changes: dict[str, Any] = {"protocol": LEAKY, "schedule": {"epochs": 1}}
    leaky = tiny_recipe(name="ours", published=row, **changes)
    write_toml(leaky, folder / "ours.toml")
    other = leaky.model_copy(
        update={"name": "other", "corpus": leaky.corpus.model_copy(update={"name": ("ckplus",)})}
    )
    write_toml(other, folder / "other.toml")
    write_toml(tiny_recipe(name="nobody"), folder / "nobody.toml")
    return folder, reproduce(home, folder)


def reproduce(home: Home, recipes: Path, *words: object, paper: str = "time-fusion") -> Any:
    where = ["--recipes", recipes, "--out", home.folder / "again"]
    return ask("reproduce", paper, *where, *home.corpus, *home.cache, *words)


def test_reproduce_trains_recipes_with_given_corpora(
    home: Home, reproduced: tuple[Path, Any]
) -> None:
    _, ran = reproduced
    assert (ran.exit_code, ran.exception) == (0, None)
    assert names(home.folder / "again") == ["ours", "time-fusion.md"]
    assert "other: left out, no --corpus ckplus=DIR" in lines(ran.stderr)
    table = (home.folder / "again" / "time-fusion.md").read_text(encoding="utf-8")
    assert table in ran.stdout
    assert lines(ran.stdout)[-1] == f"written: {home.folder}/again/time-fusion.md"
    (ours,) = [line for line in lines(table) if "| 29 % |" in line]
    figures = read_json(home.folder / "again" / "ours" / "evaluation.json")["figures"]
    assert f"{100 * figures['accuracy']:.1f} %" in ours
    assert f"> **Warning, ours**: {LEAK}" in table


def test_reproduce_resumes_existing_runs(home: Home, reproduced: tuple[Path, Any]) -> None:
    recipes, before = reproduced
    ran = reproduce(home, recipes)
    assert ran.exit_code == 0
    assert ran.stdout == before.stdout
    assert "1 of 1" in before.stderr
    assert "1 of 1" not in ran.stderr, "nothing is trained again"
    message = reproduce(home, recipes, "--set", "optimiser.lr=0.5")
    assert message.exit_code == 1
    assert lines(message.stderr)[-1] == (
        f"emoscope: {home.folder}/again/ours: holds a run of a different recipe ours. "
        "Choose another --out."
    )


def test_reproduce_suggests_papers_and_reports_missing_recipes(home: Home, tmp_path: Path) -> None:
    message = reproduce(home, tmp_path, paper="time-fusio")
    assert message.exit_code == 2
    assert lines(message.stderr) == [
        "emoscope: No paper named 'time-fusio'. Did you mean 'time-fusion'?"
    ]
    message = reproduce(home, tmp_path)
    assert message.exit_code == 1
    assert f"{tmp_path}: no recipe with [published]" in message.stderr
    page = "".join(ask("reproduce", "--help").stdout.split())
    assert all(paper in page for paper in papers())


def test_help_loads_nothing_heavy_unless_it_lists_a_registry() -> None:
    commands = [[command.name or command.callback.__name__] for command in app.registered_commands]
    commands += [[group.name] for group in app.registered_groups]
    commands += [["models", "list"], ["models", "show"], ["corpus", "list"]]
    assert ["train"] in commands
    commands.remove(["analyze"])  # its help lists registries
    commands.remove(["fuse"])  # so does its
    code = (
        "import sys\n"
        "from emoscope.apps.cli import app\n"
        f"for words in {commands}:\n"
        "    app([*words, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'cv2', 'av', 'onnxruntime', 'numpy', 'scipy', 'sklearn', 'lightning'}\n"
        "print('loaded', *sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert lines(ran.stdout)[-1] == "loaded"
    assert ran.stdout.count("Usage: ") == len(commands)
