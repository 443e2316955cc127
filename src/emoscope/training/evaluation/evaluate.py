"""Metrics of a finished run, from its predictions alone: no corpus, network or torch is needed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emoscope.core.arrays import BoolArray, IntArray
from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.media.files import replacing
from emoscope.training.evaluation import report
from emoscope.training.metrics import (
    accuracy,
    bootstrap_ci,
    by_group,
    confusion_matrix,
    coverage_curve,
    ece,
    macro_f1,
    per_class,
    uar,
    uar_ci,
)
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import Predictions, RunFolder, read_json, read_run, write_json
from emoscope.training.splits import VARIANT

__all__ = [
    "ClipKey",
    "Judged",
    "clip_key",
    "corpus_words",
    "evaluate",
    "judge",
    "main_figures",
    "measure",
    "protocol_words",
]


ClipKey = tuple[str, float, float | None, str]


@dataclass(frozen=True, eq=False)
class Judged:
    """Predictions with a known truth, and how many clips were excluded for which reason."""

    predictions: Predictions
    left_out: Mapping[str, int]

    @cached_property
    def clips(self) -> IntArray:
        """(N,) index of each prediction's clip; predictions under different seeds share it."""
        numbers: dict[ClipKey, int] = {}
        keys = (clip_key(sample) for sample in self.predictions.samples)
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=int)

    @cached_property
    def once(self) -> IntArray:
        """First row of each clip."""
        return np.unique(self.clips, return_index=True)[1]

    @property
    def by_subject(self) -> bool:
        """Whether every clip names its subject, and there are several subjects."""
        subjects = set(self.predictions.subjects.tolist())
        return "" not in subjects and len(subjects) > 1

    @property
    def groups(self) -> npt.NDArray[np.generic]:
        """(N,) units of the bootstrap: subjects, or clips without several known subjects."""
        return self.predictions.subjects if self.by_subject else self.clips


def evaluate(run_dir: Path) -> dict[str, Any]:
    """Evaluate a run and write evaluation.json, .md, .csv and .html into its folder.

    Returns {"temperature": of the exported weights, "figures": as from `measure`}. Raises
    RecipeError for an unfinished run.

    >>> from pathlib import Path
    >>> from emoscope.training.evaluation.evaluate import evaluate
    >>> evaluate(Path("runs/face-ferplus"))["figures"]["uar"]  # doctest: +SKIP
    0.68
    """
    run = read_run(run_dir)
    judged = judge(run)
    figures = measure(run, judged)
    training = read_json(run.part(*run.exported) / "fold.json")
    result = {"temperature": training["temperature"], "figures": figures}
    write_json(run_dir / "evaluation.json", result)
    for suffix, write in (
        ("md", report.markdown),
        ("csv", report.csv_table),
        ("html", report.html),
    ):
        text = write(run, figures, judged.predictions)
        with replacing(run_dir / f"evaluation.{suffix}") as part:
            # File names may hold bytes that are no text: they are spelt out.
            part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return result


def judge(run: RunFolder, vote: str | None = None) -> Judged:
    """Return the predictions of a finished run, by the recipe's vote or another one.

    Clips whose annotators' votes are tied have no truth and are excluded. Raises RecipeError."""
    missing = set(run.missing)
    finished = [part for part in run.parts if part not in missing]
    if len(finished) < len(run.parts):
        total = len(run.parts)
        raise RecipeError(
            f"{run.folder}: only {len(finished)} of {total} folds are finished. {run.remedy}"
        )
    if missing:
        raise RecipeError(f"{run.folder}: the final training is not finished. {run.remedy}")
    every = run.predictions(vote)
    clear = np.array([sample.is_clear for sample in every.samples], dtype=bool)
    if not clear.any():
        raise RecipeError(
            f"{run.folder}: the votes on every test clip are tied, so there is no truth to compare "
            "with. Choose another test part."
        )
    tied: dict[str, set[ClipKey]] = {}
    for sample in every.samples:
        if not sample.is_clear:
            tied.setdefault(f"{sample.split or 'test'}: tied votes", set()).add(clip_key(sample))
    left_out = {**run.info["left_out"], **{reason: len(keys) for reason, keys in tied.items()}}
    kept = Predictions(
        labels=every.labels,
        samples=tuple(sample for sample in every.samples if sample.is_clear),
        probs=every.probs[clear],
        seeds=every.seeds[clear],
        folds=tuple(np.array(every.folds, dtype=object)[clear]),
    )
    return Judged(kept, left_out)


def measure(run: RunFolder, judged: Judged) -> dict[str, Any]:
    """Return all metrics of a run as JSON.

    Predictions of all seeds count alike; "samples" counts clips, independent of seeds. Intervals
    are bootstraps over "subjects", each with all its clips and seeds, or over "samples" if the
    corpus names no subjects. Probabilities include the class shares of the training data, except
    under "uniform_prior"."""
    p = judged.predictions
    truth, predicted = p.truth, p.predicted
    recipe = run.recipe
    result = {
        "what": f"{corpus_words(run)}; {protocol_words(recipe)}{_method_words(recipe)}",
        "protocol": recipe.protocol.name,
        "samples": len(judged.once),
        "subjects": len(set(p.subjects.tolist()) - {""}),
        "seeds": len(recipe.seeds),
        "left_out": dict(judged.left_out),
        "warnings": list(run.info["warnings"]),
        "interval_over": "subjects" if judged.by_subject else "samples",
        **main_figures(judged),
        "macro_f1": macro_f1(truth, predicted),
        "ece": ece(p.probs, truth),
        "coverage": coverage_curve(p.probs, truth),
    }
    if window := run.info.get("window"):
        result["window"] = dict(window)
    if any(sample.votes for sample in p.samples):
        result |= _majority(judged)
    if not recipe.evaluation.every:  # the prior of single blocks is lost in the vote over them
        result["uniform_prior"] = _uniform_prior(run, judged)
    result |= {
        "per_class": _per_class(judged),
        "confusion": confusion_matrix(truth, predicted, len(p.labels)).tolist(),
        "by_group": _by_group(judged),
    }
    if recipe.evaluation.every:
        others = {vote: main_figures(judge(run, vote)) for vote in run.votes[1:]}
        result["by_vote"] = {run.votes[0]: main_figures(judged), **others}
    return result


def clip_key(sample: Sample) -> ClipKey:
    """Return what identifies a clip: recording, start, end, and its augmented variant if any."""
    variant = sample.groups.get(VARIANT, "")
    return str(sample.path), sample.start_s, sample.end_s, variant


def protocol_words(recipe: Recipe) -> str:
    """Describe the protocol and its settings: "group-k-fold (k 5, holdout 0.2)"."""
    words = []
    for key, value in recipe.protocol.model_dump(exclude={"name"}).items():
        if value:
            shown = ", ".join(value) if isinstance(value, tuple) else value
            words.append(key if value is True else f"{key} {shown}")
    return f"{recipe.protocol.name} ({', '.join(words)})" if words else recipe.protocol.name


def corpus_words(run: RunFolder) -> str:
    """Describe the corpora and the groups used: "oulu-casia (light = Strong)"."""
    where = ", ".join(f"{group} = {value}" for group, value in run.recipe.corpus.where.items())
    return " + ".join(run.info["corpora"]) + (f" ({where})" if where else "")


def _method_words(recipe: Recipe) -> str:
    """Describe votes, searched settings and a teacher, if there are any."""
    every, searched = recipe.evaluation.every, {key: 0 for t in recipe.model.search for key in t}
    blocks = f"; blocks of frames, {every} apart, combined by {recipe.evaluation.vote}"
    inner = f"; {', '.join(searched)} chosen in each training side by inner folds of persons"
    taught = f"; distilled from {Path(recipe.teacher.bundle).stem}" if recipe.teacher else ""
    return (blocks if every else "") + (inner if searched else "") + taught


def main_figures(judged: Judged, rows: BoolArray | slice = slice(None)) -> dict[str, Any]:
    """Return accuracy and UAR of some predictions with their 95 % intervals, as JSON."""
    p = judged.predictions
    truth, predicted, groups = p.truth[rows], p.predicted[rows], judged.groups[rows]
    return {
        "accuracy": accuracy(truth, predicted),
        "accuracy_ci95": list(bootstrap_ci(predicted == truth, groups)),
        "uar": uar(truth, predicted),
        "uar_ci95": list(uar_ci(truth, predicted, groups)),
    }


def _majority(judged: Judged) -> dict[str, Any]:
    """Return metrics over the clips where one class has more than half of all votes."""
    rows = np.array([sample.is_agreed for sample in judged.predictions.samples], dtype=bool)
    figures = main_figures(judged, rows) if rows.any() else {}
    count = len(np.unique(judged.clips[rows]))
    return {"majority_samples": count, **{f"majority_{k}": v for k, v in figures.items()}}


def _uniform_prior(run: RunFolder, judged: Judged) -> dict[str, Any]:
    """Return metrics without the class shares of the training data, as in `Bundle.predict`."""
    p = judged.predictions
    prior_of = {(fold["fold"], fold["seed"]): fold["prior"] for fold in run.results()}
    priors = np.array([prior_of[part] for part in zip(p.folds, p.seeds.tolist(), strict=True)])
    shares = p.probs / priors
    probs = shares / shares.sum(axis=1, keepdims=True)
    uniform = replace(judged, predictions=replace(p, probs=probs))
    recalls = {label: scores["recall"] for label, scores in _per_class(uniform).items()}
    return {
        **main_figures(uniform),
        "recall": recalls,
        "coverage": coverage_curve(probs, p.truth),
    }


def _per_class(judged: Judged) -> dict[str, dict[str, Any]]:
    """Return recall, precision and F1 by class; None for classes without clips."""
    p = judged.predictions
    counts = np.bincount(p.truth[judged.once], minlength=len(p.labels))
    scores = per_class(p.truth, p.predicted, p.labels)
    unknown = {"recall": None, "f1": None}
    return {
        label: {**scores[label], **({} if n else unknown), "samples": int(n)}
        for label, n in zip(p.labels, counts, strict=True)
    }


def _by_group(judged: Judged) -> dict[str, dict[str, dict[str, Any]]]:
    """Return {column: {value: metrics}}; a sample without the column is in none of its rows."""
    p = judged.predictions
    columns = {name for sample in p.samples for name in sample.groups} - {VARIANT}
    result = {}
    for column in sorted(columns):
        values = np.array([sample.groups.get(column, "") for sample in p.samples], dtype=np.str_)
        known = values != ""
        scores = by_group(p.truth[known], p.predicted[known], values[known])
        result[column] = {
            value: {**score, "samples": len(np.unique(judged.clips[values == value]))}
            for value, score in scores.items()
        }
    return result
