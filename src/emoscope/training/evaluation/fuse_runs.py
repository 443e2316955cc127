"""Finished runs, joined: what each says, what every fusion rule makes of it, and a system of them.

What is joined are the runs' predictions, all out of fold. A rule that learns, or weighs, is judged
as the runs were: for the clips of one fold it learns from those of the others.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emoscope.analysis.fusion import RULE_SUFFIX, RULES, RuleCard, weighted_average
from emoscope.core.arrays import BoolArray, FloatArray, IntArray, StrArray
from emoscope.core.errors import RecipeError
from emoscope.core.registry import Registry
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
from emoscope.training.evaluation.fit_fusion import LEARNED, export_fusion, fit_fusion
from emoscope.training.evaluation.tables import ABSENT, Table, percent, with_interval
from emoscope.training.metrics import ece, macro_f1, paired_bootstrap, uar
from emoscope.training.run_folder import Predictions, RunFolder, read_run, write_json

__all__ = ["EVERY_RULE", "Stack", "dealt", "fuse", "fused", "learns", "stack_runs", "uar_weights"]

Key = tuple[Any, str]  # of a clip, and its label
Answers = dict[Key, tuple[FloatArray, str, Sample]]  # probabilities, fold, sample

EVERY_RULE: Registry[object] = Registry("fusion rule")
for _name in RULES:
    EVERY_RULE.add(_name, RULES[_name])
for _name in LEARNED:
    EVERY_RULE.add(_name, LEARNED[_name])

_SETTING = "weighted-average"  # the one of RULES that has something to choose


@dataclass(frozen=True, eq=False)
class Stack:
    """What several models said of the same N clips, each out of fold."""

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
        """(N,) "" where the corpus does not say."""
        return np.array([sample.subject for sample in self.samples], dtype=np.str_)

    def said(self, probs: FloatArray) -> Predictions:
        """Probabilities (N, C) as the predictions of a run."""
        nought = np.zeros(len(self.samples), dtype=int)
        return Predictions(self.labels, self.samples, probs, nought, tuple(self.folds.tolist()))

    def of(self, rows: BoolArray) -> dict[str, FloatArray]:
        """Some clips."""
        return {name: probs[rows] for name, probs in self.members.items()}


def stack_runs(run_dirs: Sequence[Path], *, partial: bool = False) -> Stack:
    """Join finished runs clip by clip; of several seeds the mean of their probabilities. With
    `partial` a run may lack some clips (no face, no sound): there it says NaN.

    Raises RecipeError for runs that are not finished, of one name, of different labels, clips or
    folds, and for one whose folds leak: its probabilities are not out of fold."""
    if len(run_dirs) < 2:
        raise RecipeError("Two runs or more can be fused. Give their folders.")
    runs = [read_run(folder) for folder in run_dirs]
    names = [run.recipe.name for run in runs]
    if len(set(names)) < len(names):
        raise RecipeError(f"Runs to fuse need names that differ, got {', '.join(names)}.")
    first = runs[0]
    for run in runs:
        _refuse_leaks(run)
        if set(run.labels) != set(first.labels):
            raise RecipeError(f"{run.folder}: its labels are not those of {first.folder}.")
    answers = [_answers(run, first.labels) for run in runs]
    for run, other in zip(runs[1:], answers[1:], strict=True):
        if not partial:
            _refuse_other_clips(first, answers[0], run, other)
        _refuse_other_folds(first, answers[0], run, other)
    any_of = {key: told for said in reversed(answers) for key, told in said.items()}
    known = {key: any_of[key] for said in answers for key in said}
    silent = np.full(len(first.labels), np.nan)
    return Stack(
        first.labels,
        {
            name: np.stack([said[key][0] if key in said else silent for key in known])
            for name, said in zip(names, answers, strict=True)
        },
        tuple(sample for _, _, sample in known.values()),
        np.array([fold for _, fold, _ in known.values()], dtype=np.str_),
    )


def fused(stack: Stack, rule: str, seed: int = 0) -> FloatArray:
    """(N, C) by a rule of RULES or LEARNED; one that learns or weighs does so from other folds.

    Raises UnknownName, and RecipeError where a rule needs other folds and there are none."""
    if not learns(rule):
        return RULES[rule](stack.members)
    fused = np.empty((len(stack.samples), len(stack.labels)))
    folds = np.unique(stack.folds)
    if len(folds) < 2:
        raise RecipeError(
            f"{rule} learns from other folds than it is judged on, and the runs have one. Train "
            "them under a protocol of several."
        )
    for fold in folds:
        judged = stack.folds == fold
        known, truth = stack.of(~judged), stack.truth[~judged]
        if rule == _SETTING:
            fused[judged] = weighted_average(stack.of(judged), uar_weights(known, truth))
        else:
            learned = fit_fusion(rule, known, truth, stack.subjects[~judged], seed)
            fused[judged] = learned(stack.of(judged))
    return fused


def dealt(stack: Stack, folds: int, seed: int = 0) -> Stack:
    """The same clips in `folds` folds of about equally many of each class, drawn at random: for
    runs of one fold, where no persons are known."""
    order = np.random.default_rng(seed).permutation(len(stack.samples))
    by_class = order[np.argsort(stack.truth[order], kind="stable")]
    fold_of = np.empty(len(order), dtype=int)
    fold_of[by_class] = np.arange(len(order)) % folds
    return replace(stack, folds=fold_of.astype(np.str_))


def learns(rule: str) -> bool:
    """Whether a rule needs clips that are known."""
    return rule in LEARNED or rule == _SETTING


def uar_weights(probs: Mapping[str, FloatArray], truth: IntArray) -> dict[str, float]:
    """What weighted-average weighs a model by: its UAR on the clips that are known."""
    return {name: uar(truth, said.argmax(axis=1)) for name, said in probs.items()}


def fuse(run_dirs: Sequence[Path], out: Path, rule: str = "average", seed: int = 0) -> str:
    """Judge runs and all rules on the same clips, and write a system of them by one rule.

    Into `out`: fusion.json and fusion.md; NAME.toml, a system file of the runs' bundles (NAME is
    the folder's); NAME.rule.onnx where the rule is one of LEARNED, fitted on all clips.
    -> fusion.md's text. Raises UnknownName, RecipeError, BundleError, MediaError."""
    _ = EVERY_RULE[rule]  # a wrong name is told before any work
    stack = stack_runs(run_dirs)
    runs = [read_run(folder) for folder in run_dirs]
    several = len(np.unique(stack.folds)) > 1
    rules = [name for name in EVERY_RULE if several or not learns(name)]
    if rule not in rules:
        fused(stack, rule, seed)  # says why not
    said = dict(stack.members) | {name: fused(stack, name, seed) for name in rules}
    figures = {name: _figures(stack, probs) for name, probs in said.items()}
    best = max(stack.members, key=lambda name: figures[name]["uar"])
    for name in rules:
        figures[name]["over_best"] = _difference(stack, said[best], said[name])
    result = {
        "what": f"{corpus_words(runs[0])}; {protocol_words(runs[0].recipe)}",
        "runs": [str(run.folder) for run in runs],
        "clips": len(stack.samples),
        "interval_over": "subjects" if _judged(stack, said[best]).by_subject else "samples",
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


def _refuse_leaks(run: RunFolder) -> None:
    for fold in run.folds:
        for kind, which in fold["leaks"].items():
            raise RecipeError(
                f"{run.folder}: fold {fold['name']!r} has the same {kind} in training and test "
                f"({which[0]}): its probabilities are not out of fold, and no fusion learns from "
                "them. Train it without allow_leak."
            )


def _answers(run: RunFolder, labels: tuple[str, ...]) -> Answers:
    """{clip and label: what is said of it, its fold, its sample}."""
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


def _refuse_other_clips(first: RunFolder, known: Answers, run: RunFolder, other: Answers) -> None:
    """Raises RecipeError where two runs judged other clips."""
    apart = [key for key in (*known, *other) if (key in known) != (key in other)]
    if apart:
        (path, *_), label = apart[0]
        raise RecipeError(
            f"{run.folder}: it does not judge the clips of {first.folder}: {len(apart)} are in one "
            f"of them only, such as {path} ({label}). Train both on the same ones."
        )


def _refuse_other_folds(first: RunFolder, known: Answers, run: RunFolder, other: Answers) -> None:
    """Raises RecipeError where two runs judged the clips of both in other folds."""
    there: dict[str, str] = {}
    back: dict[str, str] = {}
    for key in (key for key in known if key in other):
        (_, fold, sample), (_, theirs, _) = known[key], other[key]
        if there.setdefault(fold, theirs) != theirs or back.setdefault(theirs, fold) != fold:
            who = sample.subject or str(sample.path)
            raise RecipeError(
                f"{run.folder}: its folds are not those of {first.folder}: {who} is judged with "
                f"others in {theirs!r} than in {fold!r}. Train both under one protocol and seed."
            )


def _judged(stack: Stack, probs: FloatArray) -> Judged:
    return Judged(stack.said(probs), {})


def _figures(stack: Stack, probs: FloatArray) -> dict[str, Any]:
    judged = _judged(stack, probs)
    truth, said = stack.truth, judged.predictions.predicted
    return {**main_figures(judged), "macro_f1": macro_f1(truth, said), "ece": ece(probs, truth)}


def _difference(stack: Stack, first: FloatArray, second: FloatArray) -> dict[str, float]:
    groups = _judged(stack, first).groups
    said = first.argmax(axis=1), second.argmax(axis=1)
    return asdict(paired_bootstrap(stack.truth, *said, groups, metric="uar"))


def _write_system(stack: Stack, runs: Sequence[RunFolder], out: Path, rule: str, seed: int) -> None:
    """The system file, and the rule where it is learned: now from all clips."""
    out.mkdir(parents=True, exist_ok=True)
    name = out.resolve().name
    weights: dict[str, float] = {}
    called = rule
    if rule in LEARNED:
        called = f"{name}{RULE_SUFFIX}"
        learned = fit_fusion(rule, stack.members, stack.truth, stack.subjects, seed)
        export_fusion(learned, _rule_card(stack, runs, rule), out / called)
    elif rule == _SETTING:
        weights = uar_weights(stack.members, stack.truth)
    fields = {"name": name, "labels": list(stack.labels), "rule": called}
    parts = ["".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())]
    for run, member in zip(runs, stack.members, strict=True):
        bundle = run.folder / f"{member}.onnx"
        place = os.path.relpath(bundle, out) if bundle.is_file() else member
        weight = f"weight = {weights[member]:.6g}\n" if weights else ""
        parts.append(f"[[members]]\nmodel = {json.dumps(place)}\n{weight}")
    _write_text(out / f"{name}.toml", "\n".join(parts))


def _rule_card(stack: Stack, runs: Sequence[RunFolder], rule: str) -> RuleCard:
    bundles = [run.recipe.bundle for run in runs]
    return RuleCard(
        rule=rule,
        members=tuple(stack.members),
        labels=stack.labels,
        trained_on="; ".join(dict.fromkeys(bundle.trained_on for bundle in bundles)),
        licence="; ".join(dict.fromkeys(bundle.licence for bundle in bundles)),
    )


def _page(result: Mapping[str, Any]) -> str:
    header = ("", "accuracy", "UAR", "UAR over the best alone", "macro-F1", "ECE")
    each = [*result["members"].items(), *result["rules"].items()]
    rows = tuple(
        (
            name,
            with_interval(f, "accuracy"),
            with_interval(f, "uar"),
            _over(f.get("over_best")),
            percent(f["macro_f1"]),
            f"{f['ece']:.3f}",
        )
        for name, f in each
    )
    note = (
        f"{result['clips']:,} clips; 95 % intervals in brackets, by bootstrap over "
        f"{result['interval_over']}. The best model alone is {result['best_member']}; differences "
        "to it are in percent points, paired. Rules that learn or weigh did so on other folds; "
        "weights are the models' UAR there."
    )
    warnings = [f"> **Warning**: {warning}" for warning in result["warnings"]]
    head = f"# Fusion of {', '.join(result['members'])}\n\n{result['what']}."
    return "\n\n".join([*warnings, head, Table("Rules", header, rows, note).markdown()]) + "\n"


def _over(difference: Mapping[str, float] | None) -> str:
    if difference is None:
        return ABSENT
    low, high = 100 * difference["low"], 100 * difference["high"]
    return f"{100 * difference['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
