"""Tables of metrics as Markdown and CSV, and how their cells are written."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emoscope.training.metrics import Difference

__all__ = [
    "ABSENT",
    "CLASSES_NOTE",
    "METRICS_NOTE",
    "Cell",
    "Table",
    "TidyRow",
    "confusion_table",
    "markdown_table",
    "percent",
    "points",
    "tidy",
    "window_words",
    "with_interval",
]

ABSENT = "—"

METRICS_NOTE = (
    "Accuracy: share of correct predictions. UAR (unweighted average recall): mean recall of the "
    "classes, so that rare classes count as much as frequent ones. Macro-F1: mean F1 score of the "
    "classes. ECE (expected calibration error): mean gap between confidence and accuracy; 0 is "
    "perfectly calibrated."
)
CLASSES_NOTE = (
    "Recall: share of the class's clips that are predicted as it. Precision: share of the "
    "predictions of the class that are correct. F1: harmonic mean of recall and precision."
)

Cell = str | int | float | None
TidyRow = tuple[str, str, str, Cell, Cell, Cell]  # part, name, metric, value, low, high


@dataclass(frozen=True)
class Table:
    """A table of text cells under a title; the first column names the rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Return the title as a heading, the table, and the note below it."""
        note = f"\n\n{self.note}" if self.note else ""
        return f"## {self.title}\n\n{markdown_table(self.header, self.rows)}{note}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = (header, ["---"] * len(header), *rows)
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def percent(share: float | None) -> str:
    """Write 0.463 as "46.3 %", and None or NaN as a dash."""
    return ABSENT if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def with_interval(figures: Mapping[str, Any], metric: str) -> str:
    """Write a metric with its 95 % confidence interval: "46.3 % (41.0 to 51.2)".

    Bundles exported by older versions lack some intervals; these metrics stand alone."""
    if f"{metric}_ci95" not in figures:
        return percent(figures[metric])
    low, high = figures[f"{metric}_ci95"]
    return f"{percent(figures[metric])} ({100 * low:.1f} to {100 * high:.1f})"


def points(difference: Difference) -> str:
    """Write a difference in percentage points with its interval: "+4.2 (-0.3 to +8.3)"."""
    d = difference
    return f"{100 * d.difference:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"


def confusion_table(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """Return (C, C) counts as a table; rows are the truth."""
    rows = zip(labels, counts, strict=True)
    cells = tuple((label, *map(str, row)) for label, row in rows)
    return Table(title, ("truth \\ predicted", *labels), cells)


def tidy(rows: Iterable[TidyRow]) -> str:
    """Return rows as CSV, with the columns that all our CSV tables share."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["part", "name", "metric", "value", "low", "high"])
    table.writerows(rows)
    return text.getvalue()


def window_words(window: Mapping[str, Any] | None) -> str:
    """Write a bundle's window as "4 s every 2 s: median of the training clips"; "" for None."""
    if window is None:
        return ""
    return f"{window['length_s']:g} s every {window['stride_s']:g} s: {window['source']}"
