"""An evaluation as Markdown, as an HTML page that opens offline, and as a tidy CSV table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from emoscope.reports.html_template import STYLE
from emoscope.training.evaluation.charts import confusion_chart, curves_chart, reliability_chart
from emoscope.training.evaluation.html_template import MORE_STYLE, PAGE
from emoscope.training.evaluation.tables import (
    ABSENT,
    CLASSES_NOTE,
    METRICS_NOTE,
    Cell,
    Table,
    TidyRow,
    confusion_table,
    percent,
    tidy,
    window_words,
    with_interval,
)
from emoscope.training.metrics import accuracy, uar
from emoscope.training.run_folder import Predictions, RunFolder, read_json

__all__ = ["csv_table", "html", "markdown", "summary_rows"]

_PRIORS = (
    "Training prior: the probabilities include the class shares of the training data, as in every "
    "table whose header names no prior. Uniform prior: these shares are divided out, as emoscope "
    "analyze does unless --prior train is given."
)
_CURVE = ("answered", "accuracy", "uar")


def markdown(run: RunFolder, figures: Mapping[str, Any], predictions: Predictions) -> str:
    """Return all tables of the evaluation, with the run's warnings on top."""
    warnings = [f"> **Warning**: {warning}" for warning in figures["warnings"]]
    head = f"# {run.info['name']}\n\n{_subtitle(figures)}"
    confusion = confusion_table("Confusion matrix", run.labels, figures["confusion"])
    tables = [*_results(figures), confusion, *_details(run, figures, predictions)]
    return "\n\n".join([*warnings, head, *(table.markdown() for table in tables)]) + "\n"


def html(run: RunFolder, figures: Mapping[str, Any], predictions: Predictions) -> str:
    """Return the same tables as one page with charts, without scripts or network access."""
    charts = [
        {
            "title": "Training loss",
            "svg": _curves(run, "loss"),
            "note": "One line per fold and seed.",
        },
        {
            "title": "UAR on the held-out clips",
            "svg": _curves(run, "holdout_uar"),
            "note": "One line per fold and seed. Held-out clips are clips of the training part "
            "that the network is not trained on.",
        },
        {
            "title": "Calibration: accuracy over confidence",
            "svg": reliability_chart(predictions.probs, predictions.truth),
            "note": "Bars of a calibrated model end on the dashed line. Bars below it: the model "
            "is too confident. Darker bars stand for more predictions.",
        },
    ]
    return PAGE.render(
        title=str(run.info["name"]),
        style=Markup(STYLE + MORE_STYLE),
        warnings=figures["warnings"],
        subtitle=_subtitle(figures),
        results=_results(figures),
        confusion=confusion_chart(np.array(figures["confusion"]), run.labels),
        charts=[chart for chart in charts if chart["svg"]],
        details=_details(run, figures, predictions),
    )


def csv_table(run: RunFolder, figures: Mapping[str, Any], predictions: Predictions) -> str:
    """Return one tidy table: part, name, metric, value, low, high.

    Accuracies are fractions; low and high are the 95 % confidence interval. The run's warnings are
    the first rows (part "warning", the text in the column name)."""
    return tidy(_tidy_rows(run, figures, predictions))


def summary_rows(part: str, name: str, figures: Mapping[str, Any]) -> Iterator[TidyRow]:
    """Yield the metrics of a whole run as rows of the tidy table."""
    for metric in ("accuracy", "uar", "majority_accuracy", "majority_uar"):
        if metric in figures:
            low, high = figures[f"{metric}_ci95"]
            yield part, name, metric, figures[metric], low, high
    wanted = ("macro_f1", "ece", "majority_samples", "samples", "subjects")
    yield from _each(part, name, {key: figures[key] for key in wanted if key in figures})


def _subtitle(figures: Mapping[str, Any]) -> str:
    people = f" of {figures['subjects']} subjects" if figures["subjects"] else ""
    seeds = f", {figures['seeds']} seeds" if figures["seeds"] > 1 else ""
    return (
        f"{figures['what']}; {figures['samples']:,} clips{people}{seeds}, "
        f"95 % confidence intervals by bootstrap over {figures['interval_over']}."
    )


def _results(figures: Mapping[str, Any]) -> list[Table]:
    """Return the tables above the confusion matrix."""
    tables = [_summary(figures), _votes(figures), _classes(figures), _thresholds(figures)]
    return [table for table in tables if table.rows]


def _details(run: RunFolder, figures: Mapping[str, Any], predictions: Predictions) -> list[Table]:
    """Return the tables below the confusion matrix."""
    excluded = tuple((why, f"{count:,}") for why, count in figures["left_out"].items() if count)
    tables = [
        *_groups(figures),
        _folds(run, predictions),
        Table("Excluded clips", ("reason", "clips"), excluded),
        _provenance(run),
    ]
    return [table for table in tables if table.rows]


def _summary(figures: Mapping[str, Any]) -> Table:
    """Return the main metrics, with a column for the uniform prior where it was evaluated."""
    uniform = figures.get("uniform_prior")
    rows = [
        (name, with_interval(figures, key), with_interval(uniform, key) if uniform else "")
        for key, name in (("accuracy", "accuracy"), ("uar", "unweighted average recall (UAR)"))
    ]
    rows.append(("macro-F1", percent(figures["macro_f1"]), ABSENT))
    rows.append(("expected calibration error (ECE), 15 bins", f"{figures['ece']:.3f}", ABSENT))
    if figures.get("majority_samples"):
        clips = f"clips with a majority label ({figures['majority_samples']:,} clips)"
        for key, name in (("majority_accuracy", "accuracy"), ("majority_uar", "UAR")):
            rows.append((f"{name}, {clips}", with_interval(figures, key), ABSENT))
    if uniform:
        header = ("metric (95 % interval)", "training prior", "uniform prior")
        return Table("Results", header, tuple(rows), f"{METRICS_NOTE} {_PRIORS}")
    two_columns = tuple((name, value) for name, value, _ in rows)
    return Table("Results", ("metric", "value (95 % interval)"), two_columns, METRICS_NOTE)


def _votes(figures: Mapping[str, Any]) -> Table:
    """Return the metrics by each vote; without rows if there are no votes."""
    rows = tuple(
        (vote, with_interval(scores, "accuracy"), with_interval(scores, "uar"))
        for vote, scores in figures.get("by_vote", {}).items()
    )
    note = (
        "Vote: the rule that combines the blocks of a clip into one prediction. The other tables "
        "use the first one."
    )
    return Table("By vote", ("vote", "accuracy", "UAR"), rows, note)


def _classes(figures: Mapping[str, Any]) -> Table:
    uniform = figures.get("uniform_prior", {}).get("recall", {})
    rows = tuple(
        (
            label,
            percent(scores["recall"]),
            percent(scores["precision"]),
            percent(scores["f1"]),
            *([percent(uniform[label])] if uniform else []),
            f"{scores['samples']}",
        )
        for label, scores in figures["per_class"].items()
    )
    more = ("recall, uniform prior",) if uniform else ()
    header = ("class", "recall", "precision", "F1", *more, "clips")
    return Table("By class", header, rows, CLASSES_NOTE)


def _thresholds(figures: Mapping[str, Any]) -> Table:
    """Return accuracy and coverage at confidence thresholds."""
    curves = [figures["coverage"]]
    if "uniform_prior" in figures:
        curves.append(figures["uniform_prior"]["coverage"])
    rows = tuple(
        (
            f"{100 * points[0]['min_confidence']:.0f} %",
            *(percent(point[key]) for point in points for key in _CURVE),
        )
        for points in zip(*curves, strict=True)
    )
    names = ("coverage", "accuracy", "UAR")
    more = tuple(f"{name}, uniform prior" for name in names) if len(curves) > 1 else ()
    note = (
        "Results if predictions below a minimum confidence (--min-confidence) are withheld. "
        "Coverage: share of clips that keep their prediction; accuracy and UAR are those of these "
        "clips and their classes."
    )
    return Table("By minimum confidence", ("minimum confidence", *names, *more), rows, note)


def _groups(figures: Mapping[str, Any]) -> Iterator[Table]:
    for column, values in figures["by_group"].items():
        if len(values) > 1:
            rows = tuple(
                (value, percent(scores["accuracy"]), percent(scores["uar"]), f"{scores['samples']}")
                for value, scores in values.items()
            )
            yield Table(f"By {column}", (column, "accuracy", "UAR", "clips"), rows)


def _folds(run: RunFolder, predictions: Predictions) -> Table:
    folds = list(_by_fold(run, predictions))
    rows = []
    for fold in folds:
        epochs, kept = fold.get("epochs"), fold.get("chosen_epoch")
        rows.append(
            (
                fold["fold"],
                str(fold["seed"]),
                str(fold["samples"]),
                percent(fold["accuracy"]),
                percent(fold["uar"]),
                f"{fold['seconds']:,.0f}",
                ABSENT if epochs is None else str(epochs),
                ABSENT if kept is None else str(kept),
                f"{fold['temperature']:.3f}",
                *([_settings(fold["chosen"])] if "chosen" in fold else []),
            )
        )
    if len(rows) > 1:
        means = [
            percent(float(np.nanmean([fold[metric] for fold in folds])))
            for metric in ("accuracy", "uar")
        ]
        rows.append(("mean of folds", "", "", *means, *[""] * (len(rows[0]) - 5)))
    header = ("fold", "seed", "clips", "accuracy", "UAR", "seconds", "epochs", "kept epoch")
    searched = ("chosen settings",) if run.recipe.model.search else ()
    note = (
        "Fold: one division of the clips into training and test part. Seconds: training time. Kept "
        "epoch: the epoch, counted from 0, whose weights were evaluated. Temperature: the logits "
        "are divided by it to calibrate the probabilities."
    )
    return Table("By fold", (*header, "temperature", *searched), tuple(rows), note)


def _by_fold(run: RunFolder, predictions: Predictions) -> Iterator[dict[str, Any]]:
    """Yield fold.json of every fold and seed with its metrics, NaN for a fold without truth."""
    truth, predicted, folds = predictions.truth, predictions.predicted, np.array(predictions.folds)
    for result in run.results():
        rows = (folds == result["fold"]) & (predictions.seeds == result["seed"])
        yield {
            **result,
            "samples": int(rows.sum()),
            "accuracy": accuracy(truth[rows], predicted[rows]) if rows.any() else float("nan"),
            "uar": uar(truth[rows], predicted[rows]) if rows.any() else float("nan"),
        }


def _provenance(run: RunFolder) -> Table:
    info, recipe = run.info, run.recipe
    exported = read_json(run.part(*run.exported) / "fold.json")
    facts = {
        "recipe": recipe.name,
        "model": str(info["model"]),
        "options": _settings(recipe.model.options),
        "settings chosen for the bundle": _settings(exported.get("chosen", {})),
        "parameters": "" if info["parameters"] is None else f"{info['parameters']:,}",
        "window": window_words(info.get("window")),
        "paper": str(info["paper"] or ""),
        "seeds": ", ".join(map(str, recipe.seeds)),
        "started": str(info["started"]),
        "commit": str(info["commit"] or ""),
        "machine": str(info["machine"]),
        "versions": ", ".join(f"{name} {version}" for name, version in info["versions"].items()),
    }
    rows = tuple((name, fact) for name, fact in facts.items() if fact)
    return Table("Provenance", ("item", "value"), rows)


def _settings(settings: Mapping[str, Any]) -> str:
    """Write settings as "C = 0.03, kernel = linear"."""
    return ", ".join(f"{key} = {value}" for key, value in settings.items())


def _curves(run: RunFolder, column: str) -> Markup:
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
    for vote, scores in figures.get("by_vote", {}).items():
        yield from summary_rows("vote", vote, scores)
    for label, scores in figures["per_class"].items():
        yield from _each("class", label, scores)
    yield from _curve_rows("coverage", figures["coverage"])
    if uniform := figures.get("uniform_prior"):
        yield from summary_rows("uniform_prior", "", uniform)
        for label, recall in uniform["recall"].items():
            yield from _each("uniform_prior:class", label, {"recall": recall})
        yield from _curve_rows("uniform_prior:coverage", uniform["coverage"])
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
    for point in curve:
        scores = {key: point[key] for key in _CURVE}
        yield from _each(part, f"{point['min_confidence']:g}", scores)


def _each(part: str, name: str, scores: Mapping[str, Cell]) -> Iterator[TidyRow]:
    for metric, value in scores.items():
        yield part, name, metric, value, None, None
