"""Protocols: who is trained on and who is judged. By person wherever persons are known."""

import difflib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emoscope.core.errors import CorpusError
from emoscope.core.spelling import key
from emoscope.corpora.manifest import Sample, twins
from emoscope.media.reading.images import natural_key

__all__ = [
    "Fold",
    "augmented_random",
    "fixed",
    "group_k_fold",
    "held_out_subjects",
    "leaks",
    "leave_one_group_out",
    "leave_one_subject_out",
    "refuse_leaks",
    "same_content",
    "stratified_group_holdout",
]

Samples = tuple[Sample, ...]


@dataclass(frozen=True)
class Fold:
    """One training part and the test part judged with it."""

    name: str
    train: Samples
    test: Samples


def leave_one_subject_out(samples: Sequence[Sample]) -> Iterator[Fold]:
    """A fold a person (LOSO), in the order of their names: 2 before 10. Raises CorpusError."""
    for subject in _subjects(samples):
        yield _fold(subject, samples, {subject})


def leave_one_group_out(samples: Sequence[Sample], groups: int) -> Iterator[Fold]:
    """A fold a group of persons: the subjects, in order, cut into `groups` runs of nearly equal
    length (Miyoshi et al. use five groups of eNTERFACE'05). Raises CorpusError."""
    subjects = _subjects(samples, at_least=groups)
    for i, members in enumerate(np.array_split(np.array(subjects, dtype=object), groups)):
        yield _fold(f"group {i + 1}", samples, set(members.tolist()))


def group_k_fold(samples: Sequence[Sample], k: int, seed: int = 0) -> Iterator[Fold]:
    """`k` folds of whole persons, about equally large: each person, the one with most samples
    first, goes to the fold with fewest; `seed` shuffles those of equal size. Raises CorpusError."""
    subjects = _subjects(samples, at_least=k)
    sizes = Counter(key(sample.subject) for sample in samples)
    shuffled = np.random.default_rng(seed).permutation(np.array(subjects, dtype=object)).tolist()
    members: list[set[str]] = [set() for _ in range(k)]
    totals = [0] * k
    for subject in sorted(shuffled, key=lambda who: -sizes[key(who)]):
        smallest = totals.index(min(totals))
        members[smallest].add(subject)
        totals[smallest] += sizes[key(subject)]
    for i, chosen in enumerate(members):
        yield _fold(f"fold {i + 1}", samples, chosen)


def stratified_group_holdout(samples: Sequence[Sample], part: float, seed: int = 0) -> Fold:
    """One fold that holds out about `part` of the samples as whole persons, the shares of the
    labels as near to the whole's as persons allow: of 200 random draws the nearest.

    Raises CorpusError."""
    subjects = _subjects(samples, at_least=2)
    labels = sorted({sample.label for sample in samples})
    table = np.zeros((len(subjects), len(labels)))
    row_of = {key(subject): row for row, subject in enumerate(subjects)}
    for sample in samples:
        table[row_of[key(sample.subject)], labels.index(sample.label)] += 1
    wanted = part * table.sum(axis=0)
    count = min(max(round(part * len(subjects)), 1), len(subjects) - 1)
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(len(subjects))[:count] for _ in range(200)]
    nearest = min(draws, key=lambda draw: float(np.abs(table[draw].sum(axis=0) - wanted).sum()))
    return _fold("holdout", samples, {subjects[i] for i in nearest})


def held_out_subjects(samples: Sequence[Sample], chosen: Sequence[str]) -> Fold:
    """The persons named against all others. Raises CorpusError for one who does not occur."""
    subjects = _subjects(samples)
    known = set(map(key, subjects))
    for subject in chosen:
        if key(subject) not in known:
            near = difflib.get_close_matches(subject, subjects, n=1)
            hint = (
                f"Did you mean {near[0]!r}?" if near else f"They are {', '.join(subjects[:3])} ..."
            )
            raise CorpusError(f"No usable sample shows the subject {subject!r}. {hint}")
    return _fold(", ".join(chosen), samples, set(chosen))


def fixed(samples: Sequence[Sample], test: str = "valid") -> Fold:
    """The corpus's own split: its "train" part against the part named. Raises CorpusError."""
    parts = {name: tuple(s for s in samples if s.split == name) for name in ("train", test)}
    for name, part in parts.items():
        if not part:
            found = ", ".join(sorted({s.split or "none" for s in samples})) or "no samples"
            raise CorpusError(f"The corpus has no part {name!r}, it has: {found}.")
    return Fold(test, parts["train"], parts[test])


def augmented_random(
    samples: Sequence[Sample], variants: int, part: float = 0.2, seed: int = 0
) -> Fold:
    """A random split of the *augmented* samples (Tahghighi et al., as their text reads): variants
    of one video, and every actor, stand on both sides. It leaks by construction; it is here so
    that the inflation can be measured. Each variant carries its number in `groups["variant"]`.
    """
    if variants < 1:
        raise CorpusError(f"Augmentation makes at least one variant of a sample, got {variants}.")
    augmented = [
        replace(sample, groups={**sample.groups, "variant": str(i)})
        for sample in samples
        for i in range(variants)
    ]
    order = np.random.default_rng(seed).permutation(len(augmented)).tolist()
    cut = round(part * len(augmented))
    test, train = sorted(order[:cut]), sorted(order[cut:])
    return Fold(
        "augmented-random",
        tuple(augmented[i] for i in train),
        tuple(augmented[i] for i in test),
    )


def leaks(fold: Fold, content: Mapping[Path, str] | None = None) -> dict[str, tuple[str, ...]]:
    """What stands on both sides: "subject", "recording", "content" -> which; empty if clean.

    `content` is `same_content` of the fold's paths, where it is known already."""
    if content is None:
        content = same_content((*fold.train, *fold.test))
    by_content: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for side, samples in enumerate((fold.train, fold.test)):
        for sample in samples:
            by_content[content[sample.path]][side].add(str(sample.path))
    spellings: dict[str, set[str]] = defaultdict(set)
    for sample in (*fold.train, *fold.test):
        spellings[key(sample.subject)].add(sample.subject)
    found = {
        "subject": tuple(
            " = ".join(sorted(spellings[who])) for who in _common(fold, lambda s: key(s.subject))
        ),
        "recording": _common(fold, lambda s: str(s.path)),
        "content": tuple(
            " = ".join(sorted(train | test))
            for train, test in by_content.values()
            if train and test and len(train | test) > 1
        ),
    }
    return {kind: which for kind, which in found.items() if which}


def same_content(samples: Iterable[Sample]) -> dict[Path, str]:
    """The path of each recording -> one name for all recordings of the same bytes.

    A recording that is gone is like no other."""
    paths = list(dict.fromkeys(sample.path for sample in samples))
    names = {path: str(path) for path in paths}
    for group in twins(path for path in paths if path.exists()):
        names.update((path, str(group[0])) for path in group)
    return names


def refuse_leaks(fold: Fold, content: Mapping[Path, str] | None = None) -> None:
    """Raises CorpusError for a fold with anything on both sides."""
    for kind, which in leaks(fold, content).items():
        shown = ", ".join(which[:3]) + (" ..." if len(which) > 3 else "")
        raise CorpusError(
            f"Fold {fold.name!r} has the same {kind} in training and test: {shown}. Split by "
            "person, or say allow_leak = true in the recipe; every figure then carries the warning."
        )


def _common(fold: Fold, value: Callable[[Sample], str]) -> tuple[str, ...]:
    sides = ({value(sample) for sample in side} for side in (fold.train, fold.test))
    return tuple(sorted(set.intersection(*sides) - {""}))


def _fold(name: str, samples: Sequence[Sample], tested: set[str]) -> Fold:
    """The persons in `tested` against all others."""
    keys = set(map(key, tested))
    return Fold(
        name,
        train=tuple(sample for sample in samples if key(sample.subject) not in keys),
        test=tuple(sample for sample in samples if key(sample.subject) in keys),
    )


def _subjects(samples: Sequence[Sample], at_least: int = 2) -> list[str]:
    """Who occurs, numbers in their order."""
    nameless = sum(not key(sample.subject) for sample in samples)
    if nameless:
        raise CorpusError(
            f"{nameless} of {len(samples)} samples name no subject, and this protocol splits by "
            "person. Use the corpus's fixed split."
        )
    # Subjects that differ only in spelling are one, under the first of their names.
    names = {key(s.subject): s.subject for s in reversed(samples)}.values()
    subjects = sorted(names, key=lambda who: (natural_key(who), who))
    if len(subjects) < at_least:
        raise CorpusError(
            f"This protocol needs {at_least} subjects or more, the corpus has {len(subjects)}."
        )
    return subjects
