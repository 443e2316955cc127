"""The samples that a recipe asks for, from one corpus or from several joined."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emoscope.core.errors import CorpusError, RecipeError
from emoscope.core.spelling import key
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import options_by_corpus, read_corpus
from emoscope.training.recipe import Recipe

__all__ = ["choose_samples"]


def choose_samples(
    recipe: Recipe, corpora: Mapping[str, Path], names: Sequence[str] | None = None
) -> Manifest:
    """Read the recipe's corpora, {name: folder}, and keep samples of its labels and groups.

    names   read only these of the recipe's corpora: the samples that they add to the others'

    Subjects of different corpora are different people. Subjects of one corpus that differ only in
    spelling get the spelling of the first, so that all that follows counts them as one. A joined
    corpus without a group that `corpus.where` names is used whole. Raises RecipeError or
    CorpusError where the corpora lack a label or a group, or no samples are left."""
    options = options_by_corpus(recipe.corpus.name, recipe.corpus.options)
    names = names or recipe.corpus.name
    is_whole = set(names) == set(recipe.corpus.name)
    manifests = [read_corpus(name, corpora[name], **options[name]) for name in names]
    labels = recipe.corpus.labels or manifests[0].labels
    if any(set(m.labels) != set(labels) for m in manifests) and not recipe.corpus.labels:
        raise RecipeError(f"{recipe.name}: its corpora have different labels: set corpus.labels.")
    unknown = [x for x in labels if all(x not in m.labels for m in manifests)]
    if unknown and is_whole:
        known = ", ".join(manifests[0].labels)
        raise RecipeError(f"{recipe.name}: no corpus has the label {unknown[0]}. Known: {known}.")
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    for manifest, where in zip(manifests, _wheres(recipe, manifests, is_whole), strict=True):
        prefix = f"{manifest.corpus}: " if len(manifests) > 1 else ""
        left_out.update({prefix + reason: n for reason, n in manifest.left_out.items()})
        notes += [prefix + note for note in manifest.notes]
        spelling: dict[str, str] = {}
        for sample in manifest.samples:
            reason = _reason_to_leave_out(sample, labels, where)
            if reason:
                left_out[prefix + reason] += 1
                continue
            votes = _votes(sample, manifest.labels, labels)
            who = key(sample.subject)
            subject = prefix + spelling.setdefault(who, sample.subject) if who else ""
            path = sample.path.absolute()
            samples.append(replace(sample, path=path, subject=subject, votes=votes))
    if not samples:
        reasons = ", ".join(left_out) or "the corpora are empty"
        raise CorpusError(f"{recipe.name}: no samples are left: {reasons}.")
    present = sorted({sample.label for sample in samples})
    if len(present) < 2 and is_whole:
        raise CorpusError(
            f"{recipe.name}: every sample has the label {present[0]}. Training needs two or more."
        )
    name = " + ".join(manifest.corpus for manifest in manifests)
    return Manifest(name, tuple(labels), tuple(samples), dict(left_out), tuple(notes))


def _wheres(recipe: Recipe, manifests: Sequence[Manifest], is_whole: bool) -> list[dict[str, str]]:
    """For each corpus the conditions of `corpus.where` on groups that it has.

    Raises RecipeError for a group that no corpus has, if these are all of the recipe's corpora."""
    wanted = recipe.corpus.where
    groups = [{name for sample in m.samples for name in sample.groups} for m in manifests]
    known: set[str] = set().union(*groups)
    for name in wanted:
        if name not in known and is_whole:
            names = ", ".join(sorted(known)) or "none"
            raise RecipeError(f"corpus.where: no group {name!r}. Known: {names}.")
    return [{name: wanted[name] for name in wanted if name in present} for present in groups]


def _reason_to_leave_out(sample: Sample, labels: Sequence[str], where: Mapping[str, str]) -> str:
    if sample.label not in labels:
        return f"label {sample.label}"
    for name, value in where.items():
        if sample.groups.get(name) != value:
            return f"{name} {sample.groups.get(name, 'unknown')}"
    return ""


def _votes(
    sample: Sample, corpus_labels: Sequence[str], labels: Sequence[str]
) -> tuple[float, ...] | None:
    """The sample's votes for `labels`, None where none of them has a vote."""
    if sample.votes is None or list(corpus_labels) == list(labels):
        return sample.votes
    shares = dict(zip(corpus_labels, sample.votes, strict=True))
    kept = tuple(shares.get(label, 0.0) for label in labels)
    return kept if sum(kept) else None
