"""An evaluation for people: Markdown, one HTML page that opens offline, and a tidy CSV."""

import csv
import html as escaping
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emoscope.reports.html_template import STYLE
from emoscope.training.estimators.search import words
from emoscope.training.evaluation.charts import confusion_chart, curves_chart, reliability_chart
from emoscope.training.evaluation.html_template import MORE_STYLE, PAGE
from emoscope.training.metrics import accuracy, uar
from emoscope.training.run_folder import Predictions, RunFolder, read_json

__all__ = [
    "ABSENT",
    "Table",
    "TidyRow",
    "confusion_table",
    "csv_table",
    "html",
    "markdown",
    "percent",
    "summary_rows",
    "tidy",
    "with_interval",
]

ABSENT = "—"
OPEN_ROWS = 20  # a longer table is folded

_MAJORITY = "where a class has over half of all votes"
_TRAINING = (
    "Under the training prior: with the classes' shares of the training data in the probabilities."
)
_UNIFORM = (
    "Under the uniform prior these shares are taken out, as `analyze` does unless told --prior "
    "train; what has no figure there is under the training prior."
)
_COVERED = ("answered", "accuracy", "uar")

Cell = str | int | float | None
TidyRow = tuple[str, str, str, Cell, Cell, Cell]  # part, name, metric, value, low, high


@dataclass(frozen=True)
class Table:
    """A table of words, the first column naming its rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """With its title as a heading."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        cells = ("| " + " | ".join(c.replace("|", r"\|") for c in line) + " |" for line in lines)
        note = f"\n\n{self.note}" if self.note else ""
        return f"## {self.title}\n\n" + "\n".join(cells) + note

    def html(self) -> str:
        """With its title as a heading; long ones are folded."""
        head = "".join(f'<th scope="col">{_text(name)}</th>' for name in self.header)
        body = "\n".join(
            "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        note = f'<p class="quiet">{_text(self.note)}</p>' if self.note else ""
        table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
        if len(self.rows) > OPEN_ROWS:
            table = f"<details><summary>{len(self.rows)} rows</summary>{table}</details>"
        return (
            f'<section><h2>{_text(self.title)}</h2><div class="wide">{table}</div>{note}</section>'
        )


def markdown(run: RunFolder, figures: Mapping[str, Any], predictions: Predictions) -> str:
    """Every table of the evaluation, the run's warnings on top."""
    warnings = [f"> **Warning**: {warning}" for warning in figures["warnings"]]
    head = f"# {run.info['name']}\n\n{figures['what']}; {_counts(figures)}."
    tables = [
        _summary(figures),
        _votes(figures),
        _classes(figures),
        _coverage(figures),
        confusion_table("Confusion matrix", run.labels, figures["confusion"]),
        *_groups(figures),
        _folds(run, predictions),
        _left_out(figures),
        _provenance(run),
    ]
    return "\n\n".join([*warnings, head, *(t.markdown() for t in tables if t.rows)]) + "\n"


def html(run: RunFolder, figures: Mapping[str, Any], predictions: Predictions) -> str:
    """The same tables as one page with pictures: nothing is fetched, no script runs."""
    matrix = confusion_chart(np.array(figures["confusion"]), run.labels)
    charts = {
        "Training: loss, a line a fold and seed": _curves(run, "loss"),
        "Training: UAR on the hold-out": _curves(run, "holdout_uar"),
        "Calibration: right answers over confidence": reliability_chart(
            predictions.probs, predictions.truth
        ),
    }
    above = [_summary(figures), _votes(figures), _classes(figures), _coverage(figures)]
    below = [*_groups(figures), _folds(run, predictions), _left_out(figures), _provenance(run)]
    return PAGE.substitute(
        title=_text(str(run.info["name"])),
        style=STYLE + MORE_STYLE,
        warnings="".join(
            f'<p class="warning"><b>Warning.</b> {_text(warning)}</p>'
            for warning in figures["warnings"]
        ),
        what=_text(f"{figures['what']}; {_counts(figures)}."),
        above="\n".join(table.html() for table in above if table.rows),
        matrix=matrix,
        charts="".join(
            f"<section><h3>{title}</h3>{svg}</section>" for title, svg in charts.items() if svg
        ),
        below="\n".join(table.html() for table in below if table.rows),
    )


def confusion_table(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """(C, C) counts; rows are the truth."""
    rows = zip(labels, counts, strict=True)
    cells = tuple((label, *(str(count) for count in row)) for label, row in rows)
    return Table(title, ("truth \\ called", *labels), cells)


def csv_table(run: RunFolder, figures: Mapping[str, Any], predictions: Predictions) -> str:
    """One tidy table: part, name, metric, value, low, high. Accuracies are fractions here; the
    interval is the 95 % one. Warnings are its first rows (part "warning", in the name), so that
    they are there for whoever loads it, too."""
    return tidy(_tidy_rows(run, figures, predictions))


def tidy(rows: Iterable[TidyRow]) -> str:
    """The rows as CSV under the header that all our tables share."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["part", "name", "metric", "value", "low", "high"])
    table.writerows(rows)
    return text.getvalue()


def summary_rows(part: str, name: str, figures: Mapping[str, Any]) -> Iterator[TidyRow]:
    """The figures of a whole run, as rows of the tidy table."""
    for metric in ("accuracy", "uar", "majority_accuracy", "majority_uar"):
        if metric in figures:
            low, high = figures[f"{metric}_ci95"]
            yield part, name, metric, figures[metric], low, high
    wanted = ("macro_f1", "ece", "majority_samples", "samples", "subjects")
    yield from _each(part, name, {key: figures[key] for key in wanted if key in figures})


def percent(share: float | None) -> str:
    """0.463 -> "46.3 %"; a dash where there is none."""
    return ABSENT if share is None or not np.isfinite(share) else f"{100 * share:.1f} %"


def with_interval(figures: Mapping[str, Any], metric: str) -> str:
    """ "46.3 % (41.0 to 51.2)", the 95 % interval in brackets."""
    low, high = figures[f"{metric}_ci95"]
    return f"{percent(figures[metric])} ({100 * low:.1f} to {100 * high:.1f})"


def _counts(figures: Mapping[str, Any]) -> str:
    people = f" of {figures['subjects']} subjects" if figures["subjects"] else ""
    seeds = f", {figures['seeds']} seeds" if figures["seeds"] > 1 else ""
    return (
        f"{figures['samples']:,} clips{people}{seeds}, "
        f"95 % intervals by bootstrap over {figures['interval_over']}"
    )


def _summary(figures: Mapping[str, Any]) -> Table:
    """With a column for the uniform prior, where there are such figures."""
    freed = figures.get("uniform_prior", {})
    rows = [
        (name, with_interval(figures, key), with_interval(freed, key) if freed else "")
        for key, name in (("accuracy", "accuracy"), ("uar", "unweighted average recall (UAR)"))
    ]
    rows.append(("macro-F1", percent(figures["macro_f1"]), ABSENT))
    rows.append(("expected calibration error, 15 bins", f"{figures['ece']:.3f}", ABSENT))
    if figures.get("majority_samples"):
        of = f"{_MAJORITY} ({figures['majority_samples']:,} clips)"
        for key, name in (("majority_accuracy", "accuracy"), ("majority_uar", "UAR")):
            rows.append((f"{name} {of}", with_interval(figures, key), ABSENT))
    if not freed:
        kept = tuple(row[:2] for row in rows)
        return Table("Figures", ("figure", "value (95 % interval)"), kept, _TRAINING)
    header = ("figure (95 % interval)", "training prior", "uniform prior")
    return Table("Figures", header, tuple(rows), f"{_TRAINING} {_UNIFORM}")


def _classes(figures: Mapping[str, Any]) -> Table:
    freed = figures.get("uniform_prior", {}).get("recall", {})
    rows = tuple(
        (
            label,
            percent(f["recall"]),
            percent(f["precision"]),
            percent(f["f1"]),
            *([percent(freed[label])] if freed else []),
            f"{f['samples']}",
        )
        for label, f in figures["per_class"].items()
    )
    more = ("recall, uniform prior",) if freed else ()
    return Table("By class", ("class", "recall", "precision", "F1", *more, "clips"), rows)


def _coverage(figures: Mapping[str, Any]) -> Table:
    """What a least confidence leaves, and how right that is."""
    curves = [figures["coverage"]]
    if "uniform_prior" in figures:
        curves.append(figures["uniform_prior"]["coverage"])
    rows = tuple(
        (
            f"{100 * lines[0]['min_confidence']:.0f} %",
            *(percent(line[key]) for line in lines for key in _COVERED),
        )
        for lines in zip(*curves, strict=True)
    )
    names = ("answered", "accuracy", "UAR")
    freed = tuple(f"{name}, uniform prior" for name in names) if len(curves) > 1 else ()
    note = "Of clips whose highest probability is that or more; the UAR is of the classes left."
    return Table("Least confidence", ("at least", *names, *freed), rows, note)


def _votes(figures: Mapping[str, Any]) -> Table:
    """By each vote, the recipe's own first; no rows where nothing was voted on."""
    rows = tuple(
        (vote, with_interval(by, "accuracy"), with_interval(by, "uar"))
        for vote, by in figures.get("by_vote", {}).items()
    )
    note = "The first is the recipe's own, by which all other tables are."
    return Table("By vote", ("vote over a clip's blocks", "accuracy", "UAR"), rows, note)


def _groups(figures: Mapping[str, Any]) -> Iterator[Table]:
    for column, values in figures["by_group"].items():
        if len(values) < 2:
            continue
        rows = tuple(
            (value, percent(f["accuracy"]), percent(f["uar"]), f"{f['samples']}")
            for value, f in values.items()
        )
        yield Table(f"By {column}", (column, "accuracy", "UAR", "clips"), rows)


def _folds(run: RunFolder, predictions: Predictions) -> Table:
    rows = [
        (
            fold["fold"],
            str(fold["seed"]),
            str(fold["samples"]),
            percent(fold["accuracy"]),
            percent(fold["uar"]),
            *_training_cells(fold),
        )
        for fold in _by_fold(run, predictions)
    ]
    if len(rows) > 1:
        folds = list(_by_fold(run, predictions))
        means = {
            metric: percent(float(np.nanmean([fold[metric] for fold in folds])))
            for metric in ("accuracy", "uar")
        }
        mean = ("mean of folds", "", "", means["accuracy"], means["uar"])
        rows.append((*mean, *[""] * (len(rows[0]) - len(mean))))
    measured = ("fold", "seed", "clips", "accuracy", "UAR")
    trained = ("seconds", "epochs", "kept", "temperature")
    searched = ("chosen",) if run.recipe.model.search else ()
    header = (*measured, *trained, *searched)
    note = "Kept: the epoch, from 0, whose weights were judged. Seconds are those of the training."
    return Table("By fold", header, tuple(rows), note)


def _training_cells(fold: Mapping[str, Any]) -> tuple[str, ...]:
    epochs, kept = fold.get("epochs"), fold.get("chosen_epoch")
    return (
        f"{fold['seconds']:,.0f}",
        ABSENT if epochs is None else str(epochs),
        ABSENT if kept is None else str(kept),
        f"{fold['temperature']:.3f}",
        *([words(fold["chosen"])] if "chosen" in fold else []),
    )


def _by_fold(run: RunFolder, predictions: Predictions) -> Iterator[dict[str, Any]]:
    """fold.json of every fold and seed with its own figures, NaN where nothing can be judged."""
    truth, said, folds = predictions.truth, predictions.predicted, np.array(predictions.folds)
    for result in run.results():
        mine = (folds == result["fold"]) & (predictions.seeds == result["seed"])
        yield {
            **result,
            "samples": int(mine.sum()),
            "accuracy": accuracy(truth[mine], said[mine]) if mine.any() else float("nan"),
            "uar": uar(truth[mine], said[mine]) if mine.any() else float("nan"),
        }


def _left_out(figures: Mapping[str, Any]) -> Table:
    rows = tuple((reason, f"{count:,}") for reason, count in figures["left_out"].items() if count)
    return Table("Left out", ("reason", "clips"), rows)


def _provenance(run: RunFolder) -> Table:
    info, recipe = run.info, run.recipe
    parameters, exported = info["parameters"], run.part(*run.exported) / "fold.json"
    facts = {
        "recipe": recipe.name,
        "model": str(info["model"]),
        "options": words(recipe.model.options),
        "chosen for the bundle": words(read_json(exported).get("chosen", {})),
        "parameters": "" if parameters is None else f"{parameters:,}",
        "paper": str(info["paper"] or ""),
        "seeds": ", ".join(map(str, recipe.seeds)),
        "started": str(info["started"]),
        "commit": str(info["commit"] or ""),
        "machine": str(info["machine"]),
        "versions": ", ".join(f"{name} {version}" for name, version in info["versions"].items()),
    }
    rows = tuple((name, fact) for name, fact in facts.items() if fact)
    return Table("How it was made", ("what", ""), rows)


def _curves(run: RunFolder, column: str) -> str:
    series = {
        f"{fold}, seed {seed}": [
            (float(row["epoch"]), float(row[column])) for row in rows if row.get(column)
        ]
        for (fold, seed), rows in run.histories().items()
    }
    return curves_chart(series, f"{column} over epochs")


def _tidy_rows(
    run: RunFolder, figures: Mapping[str, Any], predictions: Predictions
) -> Iterator[TidyRow]:
    for warning in figures["warnings"]:
        yield "warning", warning, "", None, None, None
    yield "about", figures["what"], "", None, None, None
    yield from summary_rows("summary", "", figures)
    for vote, by in figures.get("by_vote", {}).items():
        yield from summary_rows("vote", vote, by)
    for label, scores in figures["per_class"].items():
        yield from _each("class", label, scores)
    yield from _curve_rows("coverage", figures["coverage"])
    if freed := figures.get("uniform_prior"):
        yield from summary_rows("uniform_prior", "", freed)
        for label, recall in freed["recall"].items():
            yield from _each("uniform_prior:class", label, {"recall": recall})
        yield from _curve_rows("uniform_prior:coverage", freed["coverage"])
    for truth, row in zip(run.labels, figures["confusion"], strict=True):
        yield from _each("confusion", truth, dict(zip(run.labels, row, strict=True)))
    for column, values in figures["by_group"].items():
        for value, scores in values.items():
            yield from _each(f"group:{column}", value, scores)
    wanted = ("samples", "accuracy", "uar", "seconds", "epochs", "chosen_epoch", "temperature")
    for fold in _by_fold(run, predictions):
        name = f"{fold['fold']}/seed-{fold['seed']}"
        yield from _each("fold", name, {key: fold.get(key) for key in wanted})
        yield from _each("chosen", name, fold.get("chosen", {}))
    for reason, count in figures["left_out"].items():
        yield "left_out", reason, "samples", count, None, None


def _curve_rows(part: str, curve: Sequence[Mapping[str, float | None]]) -> Iterator[TidyRow]:
    for line in curve:
        yield from _each(part, f"{line['min_confidence']:g}", {key: line[key] for key in _COVERED})


def _each(part: str, name: str, scores: Mapping[str, Cell]) -> Iterator[TidyRow]:
    for metric, value in scores.items():
        yield part, name, metric, value, None, None


def _text(text: str) -> str:
    """Safe in the page: escaped, and bytes of a file name that are no text spelt out."""
    return escaping.escape(text.encode("utf-8", "backslashreplace").decode())
