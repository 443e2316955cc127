"""From a recipe's protocol to folds that keep to it: hold-outs, twins, the guard against leaks."""

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
    """A fold as row numbers of the plan's samples. The hold-out is no part of `train`."""

    name: str
    train: tuple[int, ...]
    holdout: tuple[int, ...]
    test: tuple[int, ...]
    leaks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Who is trained on and who is judged, fold by fold.

    samples    as the protocol uses them: variants, where it makes some
    final      every sample on the training side, for the weights to export; None where there is
               one fold, whose weights those are
    left_out   reason -> how many samples were left out, of all folds together
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
    """Split by the protocol, refuse what leaks, hold a part of each training side out.

    Raises CorpusError for too few persons or a leak that is not allowed; RecipeError for a fold
    that is empty on a side, or that nothing can be held out of."""
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
            raise RecipeError(f"A person is named {final!r}, as the training on everything is.")
        if not protocol.allow_leak:
            refuse_leaks(fold, content)
    used = _in_order(folds, samples)
    row_of = {id(sample): row for row, sample in enumerate(used)}

    def rows(
        name: str, train: Samples, test: Samples, found: Mapping[str, tuple[str, ...]]
    ) -> Rows:
        fitted, held = _hold_out(name, train, protocol, seed, content)
        a, b, c = (tuple(row_of[id(s)] for s in side) for side in (fitted, held, test))
        return Rows(name, train=a, holdout=b, test=c, leaks=found)

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
    """The folds without training samples whose bytes the test side has too, and how many went."""
    cleaned = []
    for fold in folds:
        tested = {content[sample.path] for sample in fold.test}
        kept = tuple(sample for sample in fold.train if content[sample.path] not in tested)
        cleaned.append(replace(fold, train=kept))
    gone = sum(len(a.train) - len(b.train) for a, b in zip(folds, cleaned, strict=True))
    where = "training side" if len(folds) == 1 else "training sides"
    return cleaned, {f"{where}: same bytes as on the test side": gone} if gone else {}


def _in_order(folds: Sequence[Fold], samples: Sequence[Sample]) -> Samples:
    """Every sample that a fold has, once, in the corpus's order; variants in their own."""
    used = {id(sample): sample for fold in folds for sample in (*fold.train, *fold.test)}
    known = [sample for sample in samples if id(sample) in used]
    return tuple(known) or tuple(used.values())


def _hold_out(
    name: str, train: Samples, protocol: Protocol, seed: int, content: Mapping[Path, str]
) -> tuple[Samples, Samples]:
    """What is learned from, and what is held out of it: whole persons where all are known and do
    not stand on both sides anyway, else whole contents."""
    if not protocol.holdout:
        return train, ()
    by_person = all(s.subject for s in train) and not isinstance(protocol, AugmentedRandom)
    whose = [s.subject if by_person else content[s.path] for s in train]
    if len(set(whose)) < 2:
        what = "person" if by_person else "recording"
        raise RecipeError(
            f"Fold {name!r} has one {what} to learn from: none can be held out. Set "
            "protocol.holdout = 0."
        )
    if by_person:
        fold = stratified_group_holdout(train, protocol.holdout, seed)
        fitted, held = fold.train, fold.test
    else:
        fitted, held = _hold_out_contents(train, protocol.holdout, seed, content)
    if not any(sample.is_clear for sample in held):
        raise RecipeError(
            f"Fold {name!r}: the votes on all that is held out are tied. Raise protocol.holdout."
        )
    return fitted, held


def _hold_out_contents(
    train: Samples, part: float, seed: int, content: Mapping[Path, str]
) -> tuple[Samples, Samples]:
    """A random part of the recordings, twins together, but never all of them."""
    names = sorted({content[sample.path] for sample in train})
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    count = min(max(round(part * len(names)), 1), len(names) - 1)
    chosen = {names[i] for i in order[:count]}
    fitted = tuple(sample for sample in train if content[sample.path] not in chosen)
    return fitted, tuple(sample for sample in train if content[sample.path] in chosen)


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
        yield f"Fold {fold.name!r} has nothing to learn {', '.join(missing)} from."
