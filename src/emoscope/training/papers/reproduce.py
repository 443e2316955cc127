"""A paper's published results beside the results of finished runs of its recipes."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from emoscope.core.errors import RecipeError
from emoscope.training.evaluation.evaluate import corpus_words, judge, measure, protocol_words
from emoscope.training.evaluation.tables import ABSENT, Table, confusion_table, with_interval
from emoscope.training.metrics import confusion_matrix
from emoscope.training.papers.fused_rows import fuse_row
from emoscope.training.papers.leakage import inflation_table
from emoscope.training.papers.published import Paper, PublishedFigure, papers
from emoscope.training.run_folder import RunFolder

__all__ = ["reproduction_table"]

_MINE = ("ours: accuracy", "ours: UAR", "ours: clips")


def reproduction_table(paper: str, runs: Iterable[RunFolder], folder: Path) -> str:
    """Return Markdown tables with a paper's results and, in columns of their own, ours.

    A row without a run shows dashes; runs of no row are listed below. Fusions are computed here,
    from the first run of each member, once there is one for each. Links to the runs' pages are
    relative to `folder`, where the table will be written.

    Raises UnknownName for an unknown paper or row, RecipeError for an unfinished run, or for a run
    without predictions by a vote of its rows."""
    source = papers()[paper]
    runs = list(runs)
    by_row: dict[str, list[_Ours]] = {row: [] for row in source.rows}
    runs_of: dict[str, list[RunFolder]] = {row: [] for row in source.rows}
    unmatched = []
    for run in runs:
        for row, ours in _results(run, paper, folder):
            if row is None:
                unmatched.append(ours)
            else:
                by_row[source.rows[row].id].append(ours)
                runs_of[row].append(run)
    notes = []
    for fusion in (row for row in _rows(source) if row.rule):
        fusion_cells = _fusion(
            fusion, [(source.rows[name], runs_of[name]) for name in fusion.members]
        )
        if isinstance(fusion_cells, str):
            notes.append(fusion_cells)
        else:
            by_row[fusion.id].append(fusion_cells)
    tables = [
        _figures(source, by_row, " ".join(notes)),
        _costs(source, by_row),
        _pictures(source, by_row),
        _unmatched(unmatched),
        inflation_table(runs),
        _faces(source, runs),
        *(ours.confusion for group in [*by_row.values(), unmatched] for ours in group),
    ]
    warnings = [
        f"> **Warning, {run.info['name']}**: {text}"
        for run in runs
        for text in run.info["warnings"]
    ]
    fractions = "" if source.unit == "percent" else ", with accuracies converted to percent"
    head = (
        f"# {source.authors}: {source.title}\n\nThe columns `paper: ...` are as printed in the "
        f"paper{fractions}. The columns `ours: ...` are from our runs."
    )
    shown = [table.markdown() for table in tables if table.rows]
    return "\n\n".join([*warnings, head, *shown]) + "\n"


@dataclass(frozen=True)
class _Ours:
    """Cells of a run's results, by one vote if it has several."""

    name: str
    measured_on: str
    figures: tuple[str, str, str]  # as _MINE
    costs: tuple[str, str]  # parameters, seconds of one training
    machine: str
    page: str  # a link
    confusion: Table


def _results(run: RunFolder, paper: str, folder: Path) -> Iterator[tuple[str | None, _Ours]]:
    """Yield the rows that a run reproduces, None for no row, each with the run's results."""
    figures = measure(run, judge(run))
    named = run.recipe.published
    if named is None or named.paper != paper or not named.by_vote:
        row = named.row if named and named.paper == paper else None
        yield row, _ours(run, figures, folder)
        return
    for vote, row in named.by_vote.items():
        p = judge(run, vote).predictions
        confusion = confusion_matrix(p.truth, p.predicted, len(run.labels)).tolist()
        by_vote = figures.get("by_vote", {}).get(vote, {})
        yield row, _ours(run, {**figures, **by_vote, "confusion": confusion}, folder, vote)


def _ours(run: RunFolder, figures: Mapping[str, Any], folder: Path, vote: str = "") -> _Ours:
    name, measured_on = str(run.info["name"]), figures["what"]
    if vote:
        measured_on = f"{corpus_words(run)}; {protocol_words(run.recipe)}; by {vote}"
    title = f"Confusion matrix of {name}" + (f" by {vote}" if vote else "")
    accuracy, uar = (with_interval(figures, metric) for metric in ("accuracy", "uar"))
    seconds = float(np.median([result["seconds"] for result in run.results()]))
    parameters = run.info["parameters"]
    page = run.folder / "evaluation.html"
    place = quote(Path(os.path.relpath(page, folder)).as_posix())
    return _Ours(
        name=name,
        measured_on=measured_on,
        figures=(accuracy, uar, f"{figures['samples']:,}"),
        costs=(ABSENT if parameters is None else f"{parameters:,}", f"{seconds:,.0f}"),
        machine=str(run.info["machine"]),
        page=f"[{name}]({place})" if page.is_file() else ABSENT,
        confusion=confusion_table(title, run.labels, figures["confusion"]),
    )


def _fusion(
    row: PublishedFigure, members: Sequence[tuple[PublishedFigure, Sequence[RunFolder]]]
) -> _Ours | str:
    """Fuse the first run of each member by the row's rule, or return why that is not possible."""
    missing = [member.system for member, runs in members if not runs]
    if missing:
        return f"Not fused: {row.system} (no run of {', '.join(missing)})."
    try:
        fused = fuse_row(row.rule, [runs[0] for _, runs in members])
    except RecipeError as error:
        return f"Not fused: {row.system} ({error})"
    accuracy, uar = (with_interval(fused.figures, metric) for metric in ("accuracy", "uar"))
    return _Ours(
        name=fused.name,
        measured_on=fused.what,
        figures=(accuracy, uar, f"{fused.figures['samples']:,}"),
        costs=(ABSENT, ABSENT),
        machine=str(members[0][1][0].info["machine"]),
        page=ABSENT,
        confusion=confusion_table(
            f"Confusion matrix of {fused.name}", fused.labels, fused.figures["confusion"]
        ),
    )


def _figures(paper: Paper, by_row: Mapping[str, Sequence[_Ours]], note: str) -> Table:
    rows: list[tuple[str, ...]] = []
    for row in _rows(paper):
        about = (row.system, row.corpus, row.protocol)
        printed = (*about, f"{row.value} %", _number(row.clips), row.where)
        for ours in by_row[row.id]:
            rows.append((*printed, *ours.figures, ours.name, ours.measured_on))
        if not by_row[row.id]:
            rows.append((*printed, *[ABSENT] * 5))
    header = ("system", "corpus", "protocol", "paper: accuracy", "paper: clips", "paper: source")
    mine = (*_MINE, "ours: run", "ours: measured on")
    return Table("Results", (*header, *mine), tuple(rows), note)


def _costs(paper: Paper, by_row: Mapping[str, Sequence[_Ours]]) -> Table:
    """Return parameters and training times; without rows if the paper gives neither."""
    rows: list[tuple[str, ...]] = []
    for row in _rows(paper):
        if row.parameters is not None or row.train_seconds is not None:
            printed = (row.system, row.corpus, _number(row.parameters), _number(row.train_seconds))
            for ours in by_row[row.id]:
                rows.append((*printed, *ours.costs, ours.name))
            if not by_row[row.id]:
                rows.append((*printed, *[ABSENT] * 3))
    header = ("system", "corpus", "paper: parameters", "paper: seconds per training")
    mine = ("ours: parameters", "ours: seconds per training", "ours: run")
    machines = sorted({ours.machine for group in by_row.values() for ours in group})
    note = [f"Training times of the paper: on {paper.machine}."] if paper.machine else []
    if machines:
        note.append(f"Ours: median over folds and seeds, on {'; '.join(machines)}.")
    return Table("Size and training time", (*header, *mine), tuple(rows), " ".join(note))


def _pictures(paper: Paper, by_row: Mapping[str, Sequence[_Ours]]) -> Table:
    """Return where training curves and confusion matrices are drawn; without rows if the paper
    has none."""
    rows: list[tuple[str, ...]] = []
    for row in _rows(paper):
        if row.pictures is not None:
            pages = [ours.page for ours in by_row[row.id]] or [ABSENT]
            rows += [(row.system, row.corpus, row.pictures, page) for page in pages]
    return Table(
        "Training curves and confusion matrices",
        ("system", "corpus", "paper: figures", "ours: page"),
        tuple(rows),
    )


def _faces(paper: Paper, runs: Sequence[RunFolder]) -> Table:
    """Return the frames without a detected face, one row for runs on the same frames; without rows
    if the paper does not give them, or no face was detected."""
    groups: dict[tuple[str, int, int], list[str]] = {}
    for run in runs:
        counts = run.info.get("faces", {}).values()
        frames, missed = (sum(c[name] for c in counts) for name in ("frames", "without_face"))
        if frames and run.recipe.corpus.detector != "none":
            words = f"{corpus_words(run)}, detector {run.recipe.corpus.detector}"
            groups.setdefault((words, frames, missed), []).append(str(run.info["name"]))
    rows: list[tuple[str, ...]] = []
    if paper.faces is not None:
        printed = (f"{paper.faces.missed:,} of {paper.faces.frames:,}", paper.faces.where)
        for (words, frames, missed), names in groups.items():
            rows.append((*printed, f"{missed:,} of {frames:,}", words, ", ".join(names)))
    header = ("paper: frames without a face", "paper: source", "ours: frames without a face")
    mine = ("ours: measured on", "ours: runs")
    return Table("Frames without a detected face", (*header, *mine), tuple(rows))


def _unmatched(runs: Sequence[_Ours]) -> Table:
    costs = ("ours: parameters", "ours: seconds per training")
    header = ("ours: run", *_MINE, *costs, "ours: page", "ours: measured on")
    rows = tuple(
        (ours.name, *ours.figures, *ours.costs, ours.page, ours.measured_on) for ours in runs
    )
    return Table("Runs of no row of the paper", header, rows)


def _rows(paper: Paper) -> Iterator[PublishedFigure]:
    return (paper.rows[name] for name in paper.rows)


def _number(value: int | Decimal | None) -> str:
    return ABSENT if value is None else f"{value:,}"
