"""The papers' printed figures (published.toml), and tables that show them beside ours."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emoscope.core.errors import RecipeError
from emoscope.core.registry import Registry
from emoscope.training.evaluate import judge, measure
from emoscope.training.evaluation_report import ABSENT, Table, with_interval
from emoscope.training.runs import Run

__all__ = ["Paper", "PublishedFigure", "papers", "recipes_of", "reproduction_table"]


@dataclass(frozen=True)
class PublishedFigure:
    """One row of a paper's tables.

    value           in percent, with as many digits as are printed
    where           the table or section that prints it
    parameters      trainable ones; None where the paper prints none
    train_seconds   of one training; None where the paper prints none
    """

    id: str
    system: str
    corpus: str
    protocol: str
    metric: str
    value: Decimal
    where: str
    parameters: int | None = None
    train_seconds: Decimal | None = None


@dataclass(frozen=True)
class Paper:
    """A paper and what it prints, by row id; `unit` is how it writes its accuracies."""

    key: str
    title: str
    authors: str
    unit: Literal["percent", "fraction"]
    rows: Registry[PublishedFigure]


@cache
def papers() -> Registry[Paper]:
    """Every paper whose systems are built here, by its key."""
    text = files("emoscope.training").joinpath("published.toml").read_text(encoding="utf-8")
    found: Registry[Paper] = Registry("paper")
    for key, table in tomllib.loads(text, parse_float=Decimal).items():
        rows: Registry[PublishedFigure] = Registry(f"row of {key}")
        for row in table["rows"]:
            rows.add(row["id"], PublishedFigure(**{**row, "value": _percent(row, table["unit"])}))
        found.add(key, Paper(key, table["title"], table["authors"], table["unit"], rows))
    return found


def recipes_of(paper: str, folder: Path) -> list[Path]:
    """The recipes in a folder that reproduce a paper, sorted; only their [published] is read.

    Raises UnknownName for a paper that is not in the table, RecipeError where none is found or a
    file is no TOML."""
    _ = papers()[paper]
    found = [path for path in sorted(folder.rglob("*.toml")) if _paper_of(path) == paper]
    if not found:
        raise RecipeError(
            f'{folder}: no recipe says [published] paper = "{paper}". '
            "Give the folder of the recipes."
        )
    return found


def reproduction_table(paper: str, runs: Iterable[Run]) -> str:
    """Markdown: what a paper prints in columns of its own, and beside it what finished runs of its
    recipes measured. A row nobody ran shows a dash; runs that answer to no row stand beneath.

    Raises UnknownName for a paper or a row that is not in the table, RecipeError for a run that is
    not finished."""
    source = papers()[paper]
    by_row: dict[str, list[_Ours]] = {row: [] for row in source.rows}
    beyond = []
    for run in runs:
        ours = _ours(run)
        named = run.recipe.published
        if named is None or named.paper != paper:
            beyond.append(ours)
        else:
            by_row[source.rows[named.row].id].append(ours)
    tables = [_figures(source, by_row), _costs(source, by_row), _beyond(beyond)]
    measured = [ours for group in by_row.values() for ours in group] + beyond
    warnings = [
        f"> **Warning, {ours.name}**: {text}" for ours in measured for text in ours.warnings
    ]
    how = "as printed" if source.unit == "percent" else "as printed, its fractions in percent"
    head = f"# {source.authors}: {source.title}\n\nThe paper's columns are {how}."
    shown = [table.markdown() for table in tables if table.rows]
    return "\n\n".join([*warnings, head, *shown]) + "\n"


@dataclass(frozen=True)
class _Ours:
    """What a run measured, as the table's cells."""

    name: str
    what: str
    figures: tuple[str, ...]  # accuracy, UAR
    costs: tuple[str, ...]  # parameters, seconds of one training
    warnings: tuple[str, ...]


def _ours(run: Run) -> _Ours:
    figures = measure(run, judge(run))
    seconds = float(np.median([result["seconds"] for result in run.results()]))
    parameters = run.info["parameters"]
    return _Ours(
        name=str(run.info["name"]),
        what=figures["what"],
        figures=(with_interval(figures, "accuracy"), with_interval(figures, "uar")),
        costs=(ABSENT if parameters is None else f"{parameters:,}", f"{seconds:,.0f}"),
        warnings=tuple(figures["warnings"]),
    )


def _figures(paper: Paper, by_row: Mapping[str, Sequence[_Ours]]) -> Table:
    rows = []
    for row in (paper.rows[name] for name in paper.rows):
        printed = (row.system, row.corpus, row.protocol, f"{row.value} %", row.where)
        for ours in by_row[row.id]:
            rows.append((*printed, *ours.figures, ours.name, ours.what))
        if not by_row[row.id]:
            rows.append((*printed, *[ABSENT] * 4))
    header = ("system", "corpus", "protocol", "paper: accuracy", "paper: where")
    mine = ("ours: accuracy", "ours: UAR", "ours: run", "ours: measured on")
    return Table("Figures", (*header, *mine), tuple(rows))


def _costs(paper: Paper, by_row: Mapping[str, Sequence[_Ours]]) -> Table:
    """Parameters and seconds; no rows where the paper prints neither."""
    rows = []
    for row in (paper.rows[name] for name in paper.rows):
        if row.parameters is not None or row.train_seconds is not None:
            printed = (row.system, row.corpus, _number(row.parameters), _number(row.train_seconds))
            for ours in by_row[row.id]:
                rows.append((*printed, *ours.costs, ours.name))
            if not by_row[row.id]:
                rows.append((*printed, *[ABSENT] * 3))
    header = ("system", "corpus", "paper: parameters", "paper: seconds a training")
    mine = ("ours: parameters", "ours: seconds a training", "ours: run")
    return Table("Size and training time", (*header, *mine), tuple(rows))


def _beyond(runs: Sequence[_Ours]) -> Table:
    header = ("ours: run", "ours: accuracy", "ours: UAR", "ours: measured on")
    rows = tuple((ours.name, *ours.figures, ours.what) for ours in runs)
    return Table("Runs that answer to no row of the paper", header, rows)


def _percent(row: Mapping[str, Any], unit: str) -> Decimal:
    value = Decimal(row["value"])
    return value.scaleb(2) if unit == "fraction" else value


def _number(value: int | Decimal | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def _paper_of(path: Path) -> str | None:
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a readable recipe: {error}.") from None
    published = settings.get("published")
    paper = published.get("paper") if isinstance(published, dict) else None
    return paper if isinstance(paper, str) else None
