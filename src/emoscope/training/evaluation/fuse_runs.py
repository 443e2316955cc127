"""Fuse finished runs: judge each run and every rule on the same clips, and write a system.

The runs' predictions are out of fold. A rule that learns is judged as the runs were: for the clips
of one fold it learns from those of the other folds.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emoscope.analysis.fusion import RuleCard
from emoscope.core.arrays import BoolArray, FloatArray, IntArray, StrArray
from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.media.files import replacing
from emoscope.training.evaluation.evaluate import (
    Judged,
    clip_key,
    corpus_words,
    judge,
    main_figures,
    protocol_words,
)
from emoscope.training.evaluation.fit_fusion import RULES
from emoscope.training.evaluation.tables import ABSENT, METRICS_NOTE, Table, percent, with_interval
from emoscope.training.metrics import ece, macro_f1, paired_bootstrap
from emoscope.training.run_folder import Predictions, RunFolder, read_run, write_json

__all__ = ["RULES", "Stack", "fuse", "fused", "random_folds", "stack_runs"]

_Key = tuple[Any, str]  # of a clip, and its label
_Answers = dict[_Key, tuple[FloatArray, str, Sample]]  # probabilities, fold, sample


@dataclass(frozen=True, eq=False)
class Stack:
    """Probabilities of several models for the same N clips, all out of fold."""

    labels: tuple[str, ...]
    members: Mapping[str, FloatArray]  # (N, C)
    samples: tuple[Sample, ...]
    folds: StrArray  # (N,) as the first run names them

    @cached_property
    def truth(self) -> IntArray:
        """(N,) column of each clip's label."""
        return np.array([self.labels.index(sample.label) for sample in self.samples], dtype=int)

    @cached_property
    def subjects(self) -> StrArray:
        """(N,) subjects, "" where the corpus names none."""
        return np.array([sample.subject for sample in self.samples], dtype=np.str_)

    def predictions(self, probs: FloatArray) -> Predictions:
        """Probabilities (N, C) as the predictions of a run."""
        seeds = np.zeros(len(self.samples), dtype=int)
        return Predictions(self.labels, self.samples, probs, seeds, tuple(self.folds.tolist()))

    def rows(self, rows: BoolArray) -> dict[str, FloatArray]:
        """The members' probabilities for some of the clips."""
        return {name: probs[rows] for name, probs in self.members.items()}


def stack_runs(run_dirs: Sequence[Path], *, partial: bool = False) -> Stack:
    """Join finished runs clip by clip, averaging the probabilities of several seeds.

    With `partial`, a run may lack some clips (no face, no sound); its probabilities are NaN there.
    Raises RecipeError for runs that are not finished, share a name, differ in labels, clips or
    folds, or whose folds leak: their probabilities are not out of fold."""
    if len(run_dirs) < 2:
        raise RecipeError("Fusion needs two or more runs. Give their folders.")
    runs = [read_run(folder) for folder in run_dirs]
    names = [run.recipe.name for run in runs]
    if len(set(names)) < len(names):
        raise RecipeError(f"Runs to fuse need different names, got {', '.join(names)}.")
    first = runs[0]
    for run in runs:
        for fold in run.folds:
            for kind, shared in fold["leaks"].items():
                raise RecipeError(
                    f"{run.folder}: fold {fold['name']!r} has the same {kind} in training and test "
                    f"({shared[0]}), so its probabilities are not out of fold. Train it without "
                    "allow_leak."
                )
        if set(run.labels) != set(first.labels):
            raise RecipeError(
                f"{run.folder}: its labels differ from those of {first.folder}. Fuse runs with the "
                "same labels."
            )
    answers = [_answers(run, first.labels) for run in runs]
    for run, other in zip(runs[1:], answers[1:], strict=True):
        if not partial:
            _refuse_other_clips(first, answers[0], run, other)
        _refuse_other_folds(first, answers[0], run, other)
    clips = {key: answer for member in reversed(answers) for key, answer in member.items()}
    clips = {key: clips[key] for member in answers for key in member}  # in the first run's order
    missing = np.full(len(first.labels), np.nan)
    return Stack(
        first.labels,
        {
            name: np.stack([member[key][0] if key in member else missing for key in clips])
            for name, member in zip(names, answers, strict=True)
        },
        tuple(sample for _, _, sample in clips.values()),
        np.array([fold for _, fold, _ in clips.values()], dtype=np.str_),
    )


def fused(stack: Stack, rule: str, seed: int = 0) -> FloatArray:
    """Fuse by a rule, (N, C). Each fold's clips are fused by the rule fitted to the other folds.

    Raises UnknownName, and RecipeError where a rule learns and there is only one fold."""
    folds = np.unique(stack.folds)
    if RULES[rule].learns and len(folds) < 2:
        raise RecipeError(
            f"{rule} is trained on other folds than it is tested on, but the runs have one fold. "
            "Train them with a protocol of several folds."
        )
    result = np.empty((len(stack.samples), len(stack.labels)))
    for fold in folds:
        judged = stack.folds == fold
        known = stack.rows(~judged), stack.truth[~judged], stack.subjects[~judged]
        result[judged] = RULES[rule].fit(*known, seed)(stack.rows(judged))
    return result


def random_folds(stack: Stack, folds: int, seed: int = 0) -> Stack:
    """Assign the clips to random folds, stratified by class.

    For runs of one fold, on corpora that name no subjects."""
    order = np.random.default_rng(seed).permutation(len(stack.samples))
    by_class = order[np.argsort(stack.truth[order], kind="stable")]
    assigned = np.empty(len(order), dtype=int)
    assigned[by_class] = np.arange(len(order)) % folds
    return replace(stack, folds=assigned.astype(np.str_))


def fuse(run_dirs: Sequence[Path], out: Path, rule: str = "average", seed: int = 0) -> str:
    """Judge runs and all rules on the same clips, and write a system that uses one of the rules.

    Writes into `out`: fusion.json and fusion.md; NAME.toml, a system file of the runs' bundles
    (NAME is the folder's); NAME.rule.onnx, if the rule was learned, from all clips. Returns the
    text of fusion.md. Raises UnknownName, RecipeError, BundleError, MediaError."""
    _ = RULES[rule]  # refuse an unknown name before any work
    stack = stack_runs(run_dirs)
    runs = [read_run(folder) for folder in run_dirs]
    several = len(np.unique(stack.folds)) > 1
    rules = [name for name in RULES if several or not RULES[name].learns or name == rule]
    probs = dict(stack.members) | {name: fused(stack, name, seed) for name in rules}
    figures = {name: _figures(stack, values) for name, values in probs.items()}
    best = max(stack.members, key=lambda name: figures[name]["uar"])
    judged = Judged(stack.predictions(probs[best]), {})
    for name in rules:
        predicted = probs[best].argmax(axis=1), probs[name].argmax(axis=1)
        difference = paired_bootstrap(stack.truth, *predicted, judged.groups, metric="uar")
        figures[name]["over_best"] = asdict(difference)
    result = {
        "what": f"{corpus_words(runs[0])}; {protocol_words(runs[0].recipe)}",
        "runs": [str(run.folder) for run in runs],
        "clips": len(stack.samples),
        "interval_over": "subjects" if judged.by_subject else "samples",
        "warnings": [warning for run in runs for warning in run.info["warnings"]],
        "best_member": best,
        "members": {name: figures[name] for name in stack.members},
        "rules": {name: figures[name] for name in rules},
    }
    _write_system(stack, runs, out, rule, seed)
    write_json(out / "fusion.json", result)
    text = _page(result)
    _write_text(out / "fusion.md", text)
    return text


def _answers(run: RunFolder, labels: tuple[str, ...]) -> _Answers:
    """{clip and label: its probabilities, fold and sample}."""
    judged = judge(run)
    p = judged.predictions
    columns = [p.labels.index(label) for label in labels]
    sums = np.zeros((len(judged.once), len(labels)))
    np.add.at(sums, judged.clips, p.probs[:, columns])
    means = sums / np.bincount(judged.clips)[:, None]
    return {
        (clip_key(p.samples[row]), p.samples[row].label): (probs, p.folds[row], p.samples[row])
        for row, probs in zip(judged.once.tolist(), means, strict=True)
    }


def _refuse_other_clips(first: RunFolder, known: _Answers, run: RunFolder, other: _Answers) -> None:
    """Raise RecipeError where two runs judged different clips."""
    different = [key for key in (*known, *other) if (key in known) != (key in other)]
    if different:
        (path, *_), label = different[0]
        raise RecipeError(
            f"{run.folder}: its test clips differ from those of {first.folder}: {len(different)} "
            f"are in only one of them, such as {path} ({label}). Train both on the same clips."
        )


def _refuse_other_folds(first: RunFolder, known: _Answers, run: RunFolder, other: _Answers) -> None:
    """Raise RecipeError where two runs divide the clips they share into different folds."""
    forth: dict[str, str] = {}  # fold of the first run -> fold of the other
    back: dict[str, str] = {}
    for key in (key for key in known if key in other):
        (_, fold, sample), (_, theirs, _) = known[key], other[key]
        if forth.setdefault(fold, theirs) != theirs or back.setdefault(theirs, fold) != fold:
            who = sample.subject or str(sample.path)
            raise RecipeError(
                f"{run.folder}: its folds differ from those of {first.folder}: the clips tested "
                f"with {who} in {theirs!r} are not those of {fold!r}. Train both with the same "
                "protocol and seed."
            )


def _figures(stack: Stack, probs: FloatArray) -> dict[str, Any]:
    judged = Judged(stack.predictions(probs), {})
    truth, predicted = stack.truth, judged.predictions.predicted
    return {
        **main_figures(judged),
        "macro_f1": macro_f1(truth, predicted),
        "ece": ece(probs, truth),
    }


def _write_system(stack: Stack, runs: Sequence[RunFolder], out: Path, rule: str, seed: int) -> None:
    """Write the system file, with the rule fitted to all clips."""
    out.mkdir(parents=True, exist_ok=True)
    name = out.resolve().name
    bundles = [run.recipe.bundle for run in runs]
    card = RuleCard(
        rule=rule,
        members=tuple(stack.members),
        labels=stack.labels,
        trained_on="; ".join(dict.fromkeys(bundle.trained_on for bundle in bundles)),
        licence="; ".join(dict.fromkeys(bundle.licence for bundle in bundles)),
    )
    fitted = RULES[rule].fit(stack.members, stack.truth, stack.subjects, seed)
    written, weights = fitted.export(out / name, card)
    fields = {"name": name, "labels": list(stack.labels), "rule": written}
    parts = ["".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())]
    for run, member in zip(runs, stack.members, strict=True):
        bundle = run.folder / f"{member}.onnx"
        model = os.path.relpath(bundle, out) if bundle.is_file() else member
        weight = f"weight = {weights[member]:.6g}\n" if weights else ""
        parts.append(f"[[members]]\nmodel = {json.dumps(model)}\n{weight}")
    _write_text(out / f"{name}.toml", "\n".join(parts))


def _page(result: Mapping[str, Any]) -> str:
    """fusion.md."""
    rows = []
    for name, figures in (*result["members"].items(), *result["rules"].items()):
        gain = ABSENT
        if over := figures.get("over_best"):
            points = {key: 100 * over[key] for key in ("difference", "low", "high")}
            gain = "{difference:+.1f} ({low:+.1f} to {high:+.1f})".format(**points)
        rows.append(
            (
                name,
                with_interval(figures, "accuracy"),
                with_interval(figures, "uar"),
                gain,
                percent(figures["macro_f1"]),
                f"{figures['ece']:.3f}",
            )
        )
    note = (
        f"{result['clips']:,} clips; 95 % intervals in brackets, by bootstrap over "
        f"{result['interval_over']}. The best single model is {result['best_member']}; differences "
        "from it are paired, in percentage points. Rules that learn, and the weights (each model's "
        "UAR), were fitted to the other folds. "
        f"{METRICS_NOTE}"
    )
    warnings = [f"> **Warning**: {warning}" for warning in result["warnings"]]
    head = f"# Fusion of {', '.join(result['members'])}\n\n{result['what']}."
    header = ("model or rule", "accuracy", "UAR", "UAR over the best model", "macro-F1", "ECE")
    table = Table("Models and fusion rules", header, tuple(rows), note)
    return "\n\n".join([*warnings, head, table.markdown()]) + "\n"


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
