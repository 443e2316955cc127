"""Runs side by side, and whether they differ on the clips that both of them judged."""

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
from emoscope.training.evaluation.report import (
    ABSENT,
    Table,
    TidyRow,
    percent,
    summary_rows,
    tidy,
    with_interval,
)
from emoscope.training.metrics import Difference, mcnemar, paired_bootstrap
from emoscope.training.run_folder import RunFolder, read_json, read_run

__all__ = ["Compared", "Comparison", "Pair", "compare"]

ALL_PAIRS = 4  # runs; of more, each is compared with the first


@dataclass(frozen=True)
class Compared:
    """One run's line.

    seconds_a_fold   of training, the median over folds and seeds; `seconds` is their sum
    cpu_ms           of one clip, batch 1, on one thread; None where no bundle was exported
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
    """Two runs on the clips that both judged; `reason` says why they cannot be compared.

    A run of several seeds answers with the mean of their probabilities. `difference` is in UAR,
    the second run's less the first's.
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
    """Runs, pairs of them, and what to beware of."""

    runs: tuple[Compared, ...]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]

    def markdown(self) -> str:
        """Warnings, the runs, and the pairs, as Markdown."""
        warnings = [f"> **Warning**: {warning}" for warning in self.warnings]
        tables = [t.markdown() for t in (_run_table(self.runs), _pair_table(self.pairs)) if t.rows]
        return "\n\n".join([*warnings, *tables]) + "\n"

    def csv(self) -> str:
        """The same as a tidy table: part, name, metric, value, low, high."""
        return tidy(_tidy_rows(self))


def compare(run_dirs: Sequence[Path]) -> Comparison:
    """Compare finished runs. Raises RecipeError for one that is not finished, or fewer than two."""
    if len(run_dirs) < 2:
        raise RecipeError("Two runs or more can be compared. Give their folders.")
    runs = [read_run(folder) for folder in run_dirs]
    judged = [judge(run) for run in runs]
    names = _names(runs)
    lines = [_compared(*each) for each in zip(names, runs, judged, strict=True)]
    places = range(len(runs))
    wanted = combinations(places, 2) if len(runs) <= ALL_PAIRS else ((0, k) for k in places[1:])
    pairs = [_pair((names[a], judged[a]), (names[b], judged[b])) for a, b in wanted]
    return Comparison(tuple(lines), tuple(pairs), tuple(_warnings(lines)))


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """The recipes' names, with the folder where two are the same."""
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
    said_a, said_b = _answers(a), _answers(b)
    common = [key for key in said_a if key in said_b]
    if not common:
        return Pair(name_a, name_b, 0, reason="they have no clip in common")
    labels = {label: c for c, label in enumerate(a.predictions.labels)}
    truth = np.array([labels[label] for _, label in common])
    by_a = np.array([labels[said_a[key][0]] for key in common])
    by_b = np.array([labels[said_b[key][0]] for key in common])
    subjects = np.array([said_a[key][1] for key in common], dtype=np.str_)
    known = bool((subjects != "").all())
    return Pair(
        name_a,
        name_b,
        len(common),
        over="subjects" if known else "samples",
        mcnemar_p=mcnemar(by_a == truth, by_b == truth),
        difference=paired_bootstrap(truth, by_a, by_b, subjects if known else None, metric="uar"),
    )


def _answers(judged: Judged) -> dict[tuple[ClipKey, str], tuple[str, str]]:
    """{clip and its true label: (what the mean of the seeds' probabilities says, subject)}."""
    p = judged.predictions
    means = np.zeros((len(judged.once), len(p.labels)))
    # Their sum: every clip has as many seeds, so the largest is the mean's.
    np.add.at(means, judged.clips, p.probs)
    said = means.argmax(axis=1).tolist()
    samples = [p.samples[row] for row in judged.once.tolist()]
    return {
        (clip_key(sample), sample.label): (p.labels[c], sample.subject)
        for sample, c in zip(samples, said, strict=True)
    }


def _warnings(lines: Sequence[Compared]) -> Iterator[str]:
    for line in lines:
        yield from (f"{line.name}: {warning}" for warning in line.figures["warnings"])
    for what in ("corpus", "protocol"):
        if len({getattr(line, what) for line in lines}) > 1:
            each = "; ".join(f"{line.name}: {getattr(line, what)}" for line in lines)
            plural = {"corpus": "corpora", "protocol": "protocols"}[what]
            yield f"The {plural} differ, so the figures do not compare. {each}."


def _run_table(runs: Sequence[Compared]) -> Table:
    header = ("run", "model", "corpus", "protocol", "clips", "accuracy", "UAR", "macro-F1", "ECE")
    costs = ("s a fold", "s in all", "parameters", "CPU-ms a clip")
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
        f"95 % intervals in brackets, by bootstrap over {' or '.join(over)}. Seconds of training: "
        "the median of folds and seeds, and the sum of them."
    )
    return Table("Runs", (*header, *costs), rows, note)


def _pair_table(pairs: Sequence[Pair]) -> Table:
    header = ("first", "second", "common clips", "UAR: second less first", "p (bootstrap)")
    rows = tuple(
        (pair.first, pair.second, f"{pair.clips:,}", *_difference_cells(pair)) for pair in pairs
    )
    over = sorted({pair.over for pair in pairs} - {""})
    note = (
        f"Differences in percent points, with the 95 % interval of a paired bootstrap over "
        f"{' or '.join(over)}. McNemar's test is of the clips on which one run alone is "
        "right, and takes clips as independent."
    )
    return Table("Pairs", (*header, "p (McNemar)"), rows, note if over else "")


def _difference_cells(pair: Pair) -> tuple[str, str, str]:
    d = pair.difference
    if d is None:
        return f"not compared: {pair.reason}", ABSENT, ABSENT
    interval = f"{100 * d.difference:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
    return interval, _p(d.p), _p(pair.mcnemar_p)


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
