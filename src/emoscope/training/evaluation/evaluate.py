"""Measure a finished run from its predictions; the corpus and the network are not needed."""

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
from emoscope.training.evaluation.report import csv_table, html, markdown
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
from emoscope.training.run_folder import Predictions, Run, read_json, read_run, write_json
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
    """Predictions whose truth is known, and whom an interval is drawn over."""

    predictions: Predictions
    left_out: Mapping[str, int]

    @cached_property
    def clips(self) -> IntArray:
        """(N,) the same number for every prediction, by whichever seed, of one clip."""
        numbers: dict[ClipKey, int] = {}
        keys = (clip_key(sample) for sample in self.predictions.samples)
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=int)

    @cached_property
    def once(self) -> IntArray:
        """The first row of each clip."""
        return np.unique(self.clips, return_index=True)[1]

    @property
    def by_subject(self) -> bool:
        """Whether every clip tells who is seen or heard, and they are several."""
        subjects = set(self.predictions.subjects.tolist())
        return "" not in subjects and len(subjects) > 1

    @property
    def groups(self) -> npt.NDArray[np.generic]:
        """(N,) what a bootstrap keeps together: a person; a clip where no persons are known, or
        only one."""
        return self.predictions.subjects if self.by_subject else self.clips


def evaluate(run_dir: Path) -> dict[str, Any]:
    """Measure a run, and write evaluation.json, .md, .csv and .html into its folder.

    -> {"temperature": of the weights that are exported, "figures": as `measure`}.
    Raises RecipeError for a run that is not finished."""
    run = read_run(run_dir)
    judged = judge(run)
    figures = measure(run, judged)
    training = read_json(run.part(*run.exported) / "fold.json")
    result = {"temperature": training["temperature"], "figures": figures}
    write_json(run_dir / "evaluation.json", result)
    texts = {
        "md": markdown(run, figures, judged.predictions),
        "csv": csv_table(run, figures, judged.predictions),
        "html": html(run, figures, judged.predictions),
    }
    for suffix, text in texts.items():
        with replacing(run_dir / f"evaluation.{suffix}") as part:
            part.write_text(text, encoding="utf-8", newline="")
    return result


def judge(run: Run, vote: str | None = None) -> Judged:
    """The predictions of a finished run that can be judged, by the recipe's vote or another one: a
    clip whose annotators' votes are tied has no truth. Raises RecipeError."""
    _refuse_unfinished(run)
    every = run.predictions(vote)
    clear = np.array([sample.is_clear for sample in every.samples], dtype=bool)
    if not clear.any():
        raise RecipeError(f"{run.folder}: the votes on every tested clip are tied: no truth.")
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


def measure(run: Run, judged: Judged) -> dict[str, Any]:
    """Every figure of a run, as JSON. All seeds' predictions count alike; `samples` are clips,
    however many seeds judged them. Intervals are bootstraps over "subjects", each with all its
    clips and seeds, or over "samples" where the corpus names no persons. The classes' shares of the
    training data are in the probabilities, but for those under "uniform_prior"."""
    p = judged.predictions
    truth, said = p.truth, p.predicted
    return {
        "what": f"{corpus_words(run)}; {protocol_words(run.recipe)}{_how_words(run.recipe)}",
        "protocol": run.recipe.protocol.name,
        "samples": len(judged.once),
        "subjects": len(set(p.subjects.tolist()) - {""}),
        "seeds": len(run.recipe.seeds),
        "left_out": dict(judged.left_out),
        "warnings": list(run.info["warnings"]),
        "interval_over": "subjects" if judged.by_subject else "samples",
        **main_figures(judged),
        "macro_f1": macro_f1(truth, said),
        "ece": ece(p.probs, truth),
        "coverage": coverage_curve(p.probs, truth),
        **_majority(judged),
        **_uniform_prior(run, judged),
        "per_class": _per_class(judged),
        "confusion": confusion_matrix(truth, said, len(p.labels)).tolist(),
        "by_group": _by_group(judged),
        **_by_vote(run, judged),
    }


def clip_key(sample: Sample) -> ClipKey:
    """What makes two samples one clip: the recording, the span, and which augmented form of it."""
    variant = sample.groups.get(VARIANT, "")
    return str(sample.path), sample.start_s, sample.end_s, variant


def protocol_words(recipe: Recipe) -> str:
    """The protocol and what it was given: "group-k-fold (k 5, holdout 0.2)"."""
    given = recipe.protocol.model_dump(exclude={"name"})
    said = {k: ", ".join(v) if isinstance(v, tuple) else v for k, v in given.items()}
    words = [k if v is True else f"{k} {v}" for k, v in said.items() if v]
    return f"{recipe.protocol.name} ({', '.join(words)})" if words else recipe.protocol.name


def _how_words(recipe: Recipe) -> str:
    """How clips were judged and settings chosen, where it is not the usual way."""
    every, searched = recipe.evaluation.every, {key: 0 for t in recipe.model.search for key in t}
    vote = f"; every block of frames, {every} apart, by {recipe.evaluation.vote}" if every else ""
    inner = f"; {', '.join(searched)} chosen in each training side by inner folds of persons"
    taught = f"; taught by {Path(recipe.teacher.bundle).stem}" if recipe.teacher else ""
    return vote + (inner if searched else "") + taught


def corpus_words(run: Run) -> str:
    """The corpora and the part of them that was used: "oulu-casia (light = Strong)"."""
    where = ", ".join(f"{group} = {value}" for group, value in run.recipe.corpus.where.items())
    return " + ".join(run.info["corpora"]) + (f" ({where})" if where else "")


def _refuse_unfinished(run: Run) -> None:
    missing = set(run.missing)
    judged = [part for part in run.parts if part not in missing]
    if len(judged) < len(run.parts):
        total = len(run.parts)
        raise RecipeError(f"{run.folder}: {len(judged)} of {total} folds done. {run.remedy}")
    if missing:
        raise RecipeError(f"{run.folder}: the final training is not done. {run.remedy}")


def main_figures(judged: Judged) -> dict[str, Any]:
    """Accuracy and UAR with their 95 % intervals, as JSON."""
    return _with_intervals(judged, slice(None))


def _with_intervals(judged: Judged, rows: BoolArray | slice) -> dict[str, Any]:
    """Accuracy and UAR of some predictions."""
    p = judged.predictions
    truth, said, groups = p.truth[rows], p.predicted[rows], judged.groups[rows]
    return {
        "accuracy": accuracy(truth, said),
        "accuracy_ci95": list(bootstrap_ci(said == truth, groups)),
        "uar": uar(truth, said),
        "uar_ci95": list(uar_ci(truth, said, groups)),
    }


def _uniform_prior(run: Run, judged: Judged) -> dict[str, Any]:
    """Figures where every prediction is freed of the class shares that its training saw, as
    `analyze` does (`Bundle.predict`). Nothing where blocks were voted on: what each block would say
    cannot be told from the vote."""
    if run.recipe.evaluation.every:
        return {}
    p = judged.predictions
    of_part = {(fold["fold"], fold["seed"]): fold["prior"] for fold in run.results()}
    priors = np.array([of_part[part] for part in zip(p.folds, p.seeds.tolist(), strict=True)])
    shares = p.probs / priors
    probs = shares / shares.sum(axis=1, keepdims=True)
    freed = replace(judged, predictions=replace(p, probs=probs))
    recalls = {label: scores["recall"] for label, scores in _per_class(freed).items()}
    coverage = coverage_curve(probs, p.truth)
    return {"uniform_prior": {**main_figures(freed), "recall": recalls, "coverage": coverage}}


def _by_vote(run: Run, judged: Judged) -> dict[str, Any]:
    """The main figures by every vote, the recipe's first; nothing where nothing was voted on."""
    if not run.recipe.evaluation.every:
        return {}
    others = {vote: main_figures(judge(run, vote)) for vote in run.votes[1:]}
    return {"by_vote": {run.votes[0]: main_figures(judged), **others}}


def _majority(judged: Judged) -> dict[str, Any]:
    """Figures where one class has more than half of all votes; nothing where nobody voted."""
    p = judged.predictions
    if not any(sample.votes for sample in p.samples):
        return {}
    rows = np.array([sample.is_agreed for sample in p.samples], dtype=bool)
    figures = _with_intervals(judged, rows) if rows.any() else {}
    count = len(np.unique(judged.clips[rows]))
    return {"majority_samples": count, **{f"majority_{k}": v for k, v in figures.items()}}


def _per_class(judged: Judged) -> dict[str, dict[str, Any]]:
    p = judged.predictions
    counts = np.bincount(p.truth[judged.once], minlength=len(p.labels))
    scores = per_class(p.truth, p.predicted, p.labels)
    unknown = {"recall": None, "f1": None}  # of a class that nobody showed
    return {
        label: {**scores[label], **({} if n else unknown), "samples": int(n)}
        for label, n in zip(p.labels, counts, strict=True)
    }


def _by_group(judged: Judged) -> dict[str, dict[str, dict[str, Any]]]:
    """{column: {value: figures}}; a sample without the column is in none of its rows."""
    p = judged.predictions
    columns = {name for sample in p.samples for name in sample.groups} - {VARIANT}
    found = {}
    for column in sorted(columns):
        values = np.array([sample.groups.get(column, "") for sample in p.samples], dtype=np.str_)
        told = values != ""
        scores = by_group(p.truth[told], p.predicted[told], values[told])
        found[column] = {
            value: {**score, "samples": len(np.unique(judged.clips[values == value]))}
            for value, score in scores.items()
        }
    return found
