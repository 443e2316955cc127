"""Protocols: split samples into training and test sides, by person wherever persons are known."""

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
    "VARIANT",
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

VARIANT = "variant"  # the group of a sample that is one fixed augmented form of a clip


@dataclass(frozen=True)
class Fold:
    """A training side and a test side."""

    name: str
    train: Samples
    test: Samples


def leave_one_subject_out(samples: Sequence[Sample]) -> Iterator[Fold]:
    """Yield one fold per person (LOSO), in natural order of their names: 2 before 10.

    Raises CorpusError for fewer than two persons or a sample without one.

    >>> from pathlib import Path
    >>> from emoscope.corpora.manifest import Sample
    >>> samples = [Sample(Path(f"{who}.mp4"), "anger", who) for who in ("ann", "bob")]
    >>> [(fold.name, len(fold.train), len(fold.test)) for fold in leave_one_subject_out(samples)]
    [('ann', 1, 1), ('bob', 1, 1)]
    """
    for subject in _subjects(samples):
        yield _fold(subject, samples, {subject})


def leave_one_group_out(samples: Sequence[Sample], groups: int) -> Iterator[Fold]:
    """Yield one fold per group of persons.

    The sorted subjects are cut into `groups` parts of nearly equal length (Miyoshi et al. use five
    groups of eNTERFACE'05).

    Raises CorpusError for fewer persons than groups or a sample without one.

    >>> from pathlib import Path
    >>> from emoscope.corpora.manifest import Sample
    >>> samples = [Sample(Path(f"{who}.mp4"), "anger", who) for who in ("1", "2", "3", "4")]
    >>> [[s.subject for s in fold.test] for fold in leave_one_group_out(samples, 2)]
    [['1', '2'], ['3', '4']]
    """
    subjects = _subjects(samples, at_least=groups)
    for i, members in enumerate(np.array_split(np.array(subjects, dtype=object), groups)):
        yield _fold(f"group {i + 1}", samples, set(members.tolist()))


def group_k_fold(samples: Sequence[Sample], k: int, seed: int = 0) -> Iterator[Fold]:
    """Yield `k` folds of whole persons, of about equal size.

    Persons are taken in order of their number of samples, largest first, and each goes to the
    smallest fold; `seed` shuffles persons of equal size. Raises CorpusError.

    >>> from pathlib import Path
    >>> from emoscope.corpora.manifest import Sample
    >>> samples = [Sample(Path(f"{i}.mp4"), "anger", who) for i, who in enumerate("aaabbc")]
    >>> [sorted({s.subject for s in fold.test}) for fold in group_k_fold(samples, 2)]
    [['a'], ['b', 'c']]
    """
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
    """Hold out about `part` of the samples as whole persons, with similar shares of the labels.

    Of 200 random draws the one nearest to the corpus's shares is taken. Raises CorpusError."""
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
    """Hold out the named persons. Raises CorpusError for a person who does not occur."""
    subjects = _subjects(samples)
    known = set(map(key, subjects))
    for subject in chosen:
        if key(subject) not in known:
            near = difflib.get_close_matches(subject, subjects, n=1)
            hint = (
                f"Did you mean {near[0]!r}?" if near else f"They are {', '.join(subjects[:3])} ..."
            )
            raise CorpusError(f"No usable sample has the subject {subject!r}. {hint}")
    return _fold(", ".join(chosen), samples, set(chosen))


def fixed(samples: Sequence[Sample], test: str = "valid") -> Fold:
    """Use the corpus's own split: its "train" part and the part `test`.

    Raises CorpusError for a part without samples.

    >>> from pathlib import Path
    >>> from emoscope.corpora.manifest import Sample
    >>> samples = [Sample(Path(f"{s}.mp4"), "anger", split=s) for s in ("train", "valid")]
    >>> [sample.path.name for sample in fixed(samples).test]
    ['valid.mp4']
    """
    parts = {name: tuple(s for s in samples if s.split == name) for name in ("train", test)}
    for name, part in parts.items():
        if not part:
            known = ", ".join(sorted({s.split or "none" for s in samples})) or "no samples"
            raise CorpusError(f"The corpus has no part {name!r}. Known: {known}.")
    return Fold(test, parts["train"], parts[test])


def augmented_random(
    samples: Sequence[Sample], variants: int, part: float = 0.2, seed: int = 0
) -> Fold:
    """Split *augmented* samples at random, as Tahghighi et al. describe it.

    Variants of one video, and every actor, are on both sides: the split leaks by construction, and
    is here to measure how much. The number of a variant is in `groups["variant"]`. Raises
    CorpusError for fewer than one variant.

    >>> from pathlib import Path
    >>> from emoscope.corpora.manifest import Sample
    >>> samples = [Sample(Path(f"{i}.mp4"), "anger", "ann") for i in range(5)]
    >>> fold = augmented_random(samples, variants=2)
    >>> len(fold.train), len(fold.test)
    (8, 2)
    """
    if variants < 1:
        raise CorpusError(f"variants must be at least 1, got {variants}.")
    augmented = [
        replace(sample, groups={**sample.groups, VARIANT: str(i)})
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
    """Persons, recordings and contents on both sides: {"subject" | "recording" | "content": which}.

    content   `same_content` of the fold's samples, if already known"""
    if content is None:
        content = same_content((*fold.train, *fold.test))
    by_content: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for side, samples in enumerate((fold.train, fold.test)):
        for sample in samples:
            by_content[content[sample.path]][side].add(str(sample.path))
    spellings: dict[str, set[str]] = defaultdict(set)
    for sample in (*fold.train, *fold.test):
        spellings[key(sample.subject)].add(sample.subject)
    on_both_sides = {
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
    return {kind: which for kind, which in on_both_sides.items() if which}


def same_content(samples: Iterable[Sample]) -> dict[Path, str]:
    """{path of a recording: a name shared by all recordings of the same bytes}.

    A recording that no longer exists has a name of its own."""
    paths = list(dict.fromkeys(sample.path for sample in samples))
    names = {path: str(path) for path in paths}
    for group in twins(path for path in paths if path.exists()):
        names.update((path, str(group[0])) for path in group)
    return names


def refuse_leaks(fold: Fold, content: Mapping[Path, str] | None = None) -> None:
    """Raise CorpusError for a fold with a person, recording or content on both sides."""
    for kind, which in leaks(fold, content).items():
        shown = ", ".join(which[:3]) + (" ..." if len(which) > 3 else "")
        raise CorpusError(
            f"Fold {fold.name!r} has the same {kind} in training and test: {shown}. Split by "
            "person, or set allow_leak = true in the recipe; every figure then carries the warning."
        )


def _common(fold: Fold, value: Callable[[Sample], str]) -> tuple[str, ...]:
    sides = ({value(sample) for sample in side} for side in (fold.train, fold.test))
    return tuple(sorted(set.intersection(*sides) - {""}))


def _fold(name: str, samples: Sequence[Sample], tested: set[str]) -> Fold:
    """Split into the persons in `tested` and all others."""
    keys = set(map(key, tested))
    return Fold(
        name,
        train=tuple(sample for sample in samples if key(sample.subject) not in keys),
        test=tuple(sample for sample in samples if key(sample.subject) in keys),
    )


def _subjects(samples: Sequence[Sample], at_least: int = 2) -> list[str]:
    """The subjects in natural order. Raises CorpusError for too few, or a sample without one."""
    nameless = sum(not key(sample.subject) for sample in samples)
    if nameless:
        raise CorpusError(
            f"{nameless} of {len(samples)} samples have no subject, but this protocol splits by "
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
