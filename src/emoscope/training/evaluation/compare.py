"""Finished runs side by side, and tests of their differences on the clips they share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from emoscope.core.errors import RecipeError
from emoscope.training.evaluation.evaluate import (
    ClipKey,
    Judged,
    clip_key,
    corpus_words,
    judge,
    measure,
    protocol_words,
)
from emoscope.training.evaluation.report import summary_rows
from emoscope.training.evaluation.tables import (
    ABSENT,
    METRICS_NOTE,
    Table,
    TidyRow,
    percent,
    points,
    tidy,
    with_interval,
)
from emoscope.training.metrics import Difference, mcnemar, paired_bootstrap
from emoscope.training.run_folder import RunFolder, read_json, read_run

__all__ = ["Compared", "Comparison", "Pair", "compare"]

ALL_PAIRS = 4  # with more runs, each is compared with the first only


@dataclass(frozen=True)
class Compared:
    """One run of a comparison.

    seconds_a_fold   training time, median over folds and seeds; `seconds` is the sum
    cpu_ms           time per clip at batch size 1 on one thread; None without an exported bundle
    """

    name: str
    model: str
    corpus: str
    protocol: str
    figures: Mapping[str, Any]
    seconds_a_fold: float
    seconds: float
    parameters: int | None
    cpu_ms: float | None


@dataclass(frozen=True)
class Pair:
    """Two runs on the clips they share; `reason` tells why they cannot be compared.

    The probabilities of a run's seeds are averaged. `difference` is the second run's UAR minus the
    first's.
    """

    first: str
    second: str
    clips: int
    over: str = ""
    mcnemar_p: float = float("nan")
    difference: Difference | None = None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Compared runs, pairs of them, and warnings."""

    runs: tuple[Compared, ...]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]

    def markdown(self) -> str:
        """Return warnings, runs and pairs as Markdown."""
        warnings = [f"> **Warning**: {warning}" for warning in self.warnings]
        tables = [t.markdown() for t in (_run_table(self.runs), _pair_table(self.pairs)) if t.rows]
        return "\n\n".join([*warnings, *tables]) + "\n"

    def csv(self) -> str:
        """Return the same as a tidy table: part, name, metric, value, low, high."""
        return tidy(_tidy_rows(self))


def compare(run_dirs: Sequence[Path]) -> Comparison:
    """Compare finished runs. Raises RecipeError for fewer than two, or an unfinished one.

    >>> from pathlib import Path
    >>> from emoscope.training.evaluation.compare import compare
    >>> print(compare([Path("runs/a"), Path("runs/b")]).markdown())  # doctest: +SKIP
    """
    if len(run_dirs) < 2:
        raise RecipeError("A comparison needs two or more runs. Give their folders.")
    runs = [read_run(folder) for folder in run_dirs]
    judged = [judge(run) for run in runs]
    names = _names(runs)
    compared = [_compared(*each) for each in zip(names, runs, judged, strict=True)]
    indices = range(len(runs))
    wanted = combinations(indices, 2) if len(runs) <= ALL_PAIRS else ((0, k) for k in indices[1:])
    pairs = [_pair((names[a], judged[a]), (names[b], judged[b])) for a, b in wanted]
    return Comparison(tuple(compared), tuple(pairs), tuple(_warnings(compared)))


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """Return the recipes' names, with the folder where two are the same."""
    names = [str(run.info["name"]) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.folder})"
        for name, run in zip(names, runs, strict=True)
    ]


def _compared(name: str, run: RunFolder, judged: Judged) -> Compared:
    seconds = [float(result["seconds"]) for result in run.results()]
    bundle = run.folder / "bundle.json"
    return Compared(
        name=name,
        model=str(run.info["model"]),
        corpus=corpus_words(run),
        protocol=protocol_words(run.recipe),
        figures=measure(run, judged),
        seconds_a_fold=float(np.median(seconds)),
        seconds=sum(seconds),
        parameters=run.info["parameters"],
        cpu_ms=read_json(bundle).get("cpu_ms_a_clip") if bundle.is_file() else None,
    )


def _pair(first: tuple[str, Judged], second: tuple[str, Judged]) -> Pair:
    (name_a, a), (name_b, b) = first, second
    if set(a.predictions.labels) != set(b.predictions.labels):
        return Pair(name_a, name_b, 0, reason="their labels differ")
    predicted_a, predicted_b = _predictions(a), _predictions(b)
    common = [key for key in predicted_a if key in predicted_b]
    if not common:
        return Pair(name_a, name_b, 0, reason="they share no clip")
    labels = {label: c for c, label in enumerate(a.predictions.labels)}
    truth = np.array([labels[label] for _, label in common])
    classes_a = np.array([labels[predicted_a[key][0]] for key in common])
    classes_b = np.array([labels[predicted_b[key][0]] for key in common])
    subjects = np.array([predicted_a[key][1] for key in common], dtype=np.str_)
    known = bool((subjects != "").all())
    return Pair(
        name_a,
        name_b,
        len(common),
        over="subjects" if known else "samples",
        mcnemar_p=mcnemar(classes_a == truth, classes_b == truth),
        difference=paired_bootstrap(
            truth, classes_a, classes_b, subjects if known else None, metric="uar"
        ),
    )


def _predictions(judged: Judged) -> dict[tuple[ClipKey, str], tuple[str, str]]:
    """Return {(clip, true label): (predicted label, subject)}, by the mean over the seeds."""
    p = judged.predictions
    sums = np.zeros((len(judged.once), len(p.labels)))
    # The sum is enough: every clip has equally many seeds.
    np.add.at(sums, judged.clips, p.probs)
    predicted = sums.argmax(axis=1).tolist()
    samples = [p.samples[row] for row in judged.once.tolist()]
    return {
        (clip_key(sample), sample.label): (p.labels[c], sample.subject)
        for sample, c in zip(samples, predicted, strict=True)
    }


def _warnings(lines: Sequence[Compared]) -> Iterator[str]:
    for line in lines:
        yield from (f"{line.name}: {warning}" for warning in line.figures["warnings"])
    for field, plural in (("corpus", "corpora"), ("protocol", "protocols")):
        if len({getattr(line, field) for line in lines}) > 1:
            each = "; ".join(f"{line.name}: {getattr(line, field)}" for line in lines)
            yield f"The {plural} differ, so the results are not comparable. {each}."


def _run_table(runs: Sequence[Compared]) -> Table:
    header = ("run", "model", "corpus", "protocol", "clips", "accuracy", "UAR", "macro-F1", "ECE")
    costs = ("seconds per fold", "seconds in total", "parameters", "CPU ms per clip")
    rows = tuple(
        (
            line.name,
            line.model,
            line.corpus,
            line.protocol,
            f"{line.figures['samples']:,}",
            with_interval(line.figures, "accuracy"),
            with_interval(line.figures, "uar"),
            percent(line.figures["macro_f1"]),
            f"{line.figures['ece']:.3f}",
            f"{line.seconds_a_fold:,.1f}",
            f"{line.seconds:,.0f}",
            ABSENT if line.parameters is None else f"{line.parameters:,}",
            ABSENT if line.cpu_ms is None else f"{line.cpu_ms:.1f}",
        )
        for line in runs
    )
    over = sorted({line.figures["interval_over"] for line in runs})
    note = (
        f"In brackets: 95 % confidence intervals by bootstrap over {' or '.join(over)}. Seconds: "
        f"training time, median over folds and seeds, and their sum. {METRICS_NOTE}"
    )
    return Table("Runs", (*header, *costs), rows, note)


def _pair_table(pairs: Sequence[Pair]) -> Table:
    header = ("first", "second", "common clips", "UAR: second minus first", "p (bootstrap)")
    rows = []
    for pair in pairs:
        if pair.difference is None:
            cells = (f"not compared: {pair.reason}", ABSENT, ABSENT)
        else:
            d = pair.difference
            cells = (points(d), _p(d.p), _p(pair.mcnemar_p))
        rows.append((pair.first, pair.second, f"{pair.clips:,}", *cells))
    over = sorted({pair.over for pair in pairs} - {""})
    note = (
        "Differences in percentage points, with the 95 % confidence interval of a paired "
        f"bootstrap over {' or '.join(over)}. p: probability of a difference at least this large "
        "if both runs were equally good. McNemar's test counts clips on which exactly one run is "
        "right, and takes clips as independent."
    )
    return Table("Pairs", (*header, "p (McNemar)"), tuple(rows), note if over else "")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _tidy_rows(comparison: Comparison) -> Iterator[TidyRow]:
    for warning in comparison.warnings:
        yield "warning", warning, "", None, None, None
    for line in comparison.runs:
        yield from summary_rows("run", line.name, line.figures)
        for metric in ("seconds_a_fold", "seconds", "parameters", "cpu_ms"):
            yield "run", line.name, metric, getattr(line, metric), None, None
        for metric in ("model", "corpus", "protocol"):
            yield "about", line.name, f"{metric}: {getattr(line, metric)}", None, None, None
    for pair in comparison.pairs:
        name = f"{pair.second} - {pair.first}"
        yield "pair", name, "clips", pair.clips, None, None
        if pair.difference is not None:
            d = pair.difference
            yield "pair", name, "uar", d.difference, d.low, d.high
            yield "pair", name, "bootstrap_p", d.p, None, None
            yield "pair", name, "mcnemar_p", pair.mcnemar_p, None, None
