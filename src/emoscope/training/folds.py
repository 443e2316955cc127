"""Plan the folds of a recipe's protocol: hold-outs, duplicate recordings, refusal of leaks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from emoscope.core.errors import RecipeError
from emoscope.core.spelling import key
from emoscope.corpora.manifest import Sample
from emoscope.training.recipe import (
    AugmentedRandom,
    Fixed,
    GroupHoldout,
    GroupKFold,
    HeldOutSubjects,
    LeaveOneGroupOut,
    LeaveOneSubjectOut,
    Protocol,
)
from emoscope.training.splits import (
    Fold,
    augmented_random,
    fixed,
    group_k_fold,
    held_out_subjects,
    leaks,
    leave_one_group_out,
    leave_one_subject_out,
    refuse_leaks,
    same_content,
    stratified_group_holdout,
)

__all__ = ["Plan", "Rows", "check_persons", "plan_folds"]

Samples = tuple[Sample, ...]


@dataclass(frozen=True)
class Rows:
    """A fold as row numbers of the plan's samples. `train` does not include the hold-out."""

    name: str
    train: tuple[int, ...]
    holdout: tuple[int, ...]
    test: tuple[int, ...]
    leaks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The training, hold-out and test samples of every fold.

    samples    the samples of all folds, or the variants that the protocol makes of them
    final      a training on all samples, whose weights are exported; None if there is only one
               fold, which is then exported
    left_out   reason -> number of samples left out, in all folds together
    warnings   leaks that the recipe allows, labels that a fold cannot learn
    """

    samples: Samples
    folds: tuple[Rows, ...]
    final: Rows | None
    left_out: Mapping[str, int]
    warnings: tuple[str, ...]


def plan_folds(
    samples: Sequence[Sample], labels: Sequence[str], protocol: Protocol, seed: int, final: str
) -> Plan:
    """Split samples by the protocol, refuse leaks, and take a hold-out from each training side.

    final   name of the training on all samples
    Raises CorpusError for too few persons or a leak that is not allowed; RecipeError for a fold
    with an empty side, or without anything to hold out."""
    content = same_content(samples)
    folds = list(_split(samples, protocol))
    left_out: dict[str, int] = {}
    if protocol.drop_twins:
        folds, left_out = _without_twins(folds, content)
    for fold in folds:
        if not fold.train or not fold.test:
            side = "test" if fold.train else "training"
            raise RecipeError(f"Fold {fold.name!r} has no {side} sample. Choose another protocol.")
        if fold.name == final:
            raise RecipeError(
                f"A person is named {final!r}, the name of the training on all samples. Rename the "
                "person."
            )
        if not protocol.allow_leak:
            refuse_leaks(fold, content)
    # In the corpus's order; variants are not among its samples and keep their own.
    by_id = {id(sample): sample for fold in folds for sample in (*fold.train, *fold.test)}
    used = tuple(sample for sample in samples if id(sample) in by_id) or tuple(by_id.values())
    row_of = {id(sample): row for row, sample in enumerate(used)}

    def rows(
        name: str, train: Samples, test: Samples, leaked: Mapping[str, tuple[str, ...]]
    ) -> Rows:
        sides = (*_hold_out(name, train, protocol, seed, content), test)
        fitted, holdout, tested = (tuple(row_of[id(s)] for s in side) for side in sides)
        return Rows(name, train=fitted, holdout=holdout, test=tested, leaks=leaked)

    planned = tuple(rows(f.name, f.train, f.test, leaks(f, content)) for f in folds)
    everything = rows(final, used, (), {}) if len(folds) > 1 else None
    warnings = [text for fold in planned for text in _warnings(fold, used, labels)]
    return Plan(used, planned, everything, left_out, tuple(warnings))


def check_persons(plan: Plan, model: str) -> None:
    """Check that every class an estimator learns is learned from two persons or more.

    Raises RecipeError that names the first class of fewer: its probabilities would be calibrated on
    a person whom it has learned from."""
    for fold in (*plan.folds, *([plan.final] if plan.final else [])):
        persons: dict[str, set[str]] = defaultdict(set)
        for row in fold.train:
            sample = plan.samples[row]
            persons[sample.label].add(key(sample.subject) or str(sample.path))
        for label in sorted(persons):
            if len(persons[label]) < 2:
                count = sum(sample.label == label for sample in plan.samples)
                raise RecipeError(
                    f"{label} has {count} sample{'s' * (count > 1)}, too few: fold {fold.name!r} "
                    f"learns it from one person, and {model} needs two. Leave the class out by "
                    "corpus.labels, or choose a protocol with fewer folds."
                )


def _split(samples: Sequence[Sample], protocol: Protocol) -> Iterator[Fold]:
    match protocol:
        case Fixed(test=test):
            yield fixed(samples, test)
        case LeaveOneSubjectOut():
            yield from leave_one_subject_out(samples)
        case LeaveOneGroupOut(groups=groups):
            yield from leave_one_group_out(samples, groups)
        case GroupKFold(k=k, seed=seed):
            yield from group_k_fold(samples, k, seed)
        case GroupHoldout(part=part, seed=seed):
            yield stratified_group_holdout(samples, part, seed)
        case HeldOutSubjects(subjects=subjects):
            yield held_out_subjects(samples, subjects)
        case AugmentedRandom(variants=variants, seed=seed):
            yield augmented_random(samples, variants, seed=seed)


def _without_twins(
    folds: Sequence[Fold], content: Mapping[Path, str]
) -> tuple[list[Fold], dict[str, int]]:
    """Remove training samples with the same bytes as a test sample, and count them."""
    cleaned = []
    for fold in folds:
        tested = {content[sample.path] for sample in fold.test}
        kept = tuple(sample for sample in fold.train if content[sample.path] not in tested)
        cleaned.append(replace(fold, train=kept))
    removed = sum(len(a.train) - len(b.train) for a, b in zip(folds, cleaned, strict=True))
    where = "training side" if len(folds) == 1 else "training sides"
    return cleaned, {f"{where}: same bytes as on the test side": removed} if removed else {}


def _hold_out(
    name: str, train: Samples, protocol: Protocol, seed: int, content: Mapping[Path, str]
) -> tuple[Samples, Samples]:
    """Split a training side into the part to learn from and the hold-out.

    Whole persons are held out if all are known and the protocol does not mix them, otherwise whole
    recordings."""
    if not protocol.holdout:
        return train, ()
    by_person = all(s.subject for s in train) and not isinstance(protocol, AugmentedRandom)
    groups = sorted({s.subject if by_person else content[s.path] for s in train})
    if len(groups) < 2:
        kind = "person" if by_person else "recording"
        raise RecipeError(
            f"Fold {name!r} has one {kind} to learn from: none can be held out. Set "
            "protocol.holdout = 0."
        )
    if by_person:
        fold = stratified_group_holdout(train, protocol.holdout, seed)
        fitted, held_out = fold.train, fold.test
    else:  # a random part of the recordings, those of the same bytes together
        order = np.random.default_rng(seed).permutation(len(groups)).tolist()
        count = min(max(round(protocol.holdout * len(groups)), 1), len(groups) - 1)
        chosen = {groups[i] for i in order[:count]}
        fitted = tuple(s for s in train if content[s.path] not in chosen)
        held_out = tuple(s for s in train if content[s.path] in chosen)
    if not any(sample.is_clear for sample in held_out):
        raise RecipeError(
            f"Fold {name!r}: the votes on all held-out samples are tied. Raise protocol.holdout."
        )
    return fitted, held_out


def _warnings(fold: Rows, samples: Samples, labels: Sequence[str]) -> Iterator[str]:
    if fold.leaks:
        kinds = " and ".join(f"{kind}s ({len(which)})" for kind, which in fold.leaks.items())
        yield (
            f"LEAK: fold {fold.name!r} has the same {kinds} in training and test. Its figures are "
            "inflated."
        )
    seen = {samples[row].label for row in fold.train}
    missing = [label for label in labels if label not in seen]
    if missing:
        yield f"Fold {fold.name!r} has no training sample of {', '.join(missing)}."
