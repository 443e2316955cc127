"""The samples that a recipe asks for, of one corpus or of several joined."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emoscope.core.errors import CorpusError, RecipeError
from emoscope.corpora.manifest import Manifest, Sample, read_corpus
from emoscope.training.recipe import Recipe

__all__ = ["choose_samples"]


def choose_samples(recipe: Recipe, corpora: Mapping[str, Path]) -> Manifest:
    """The recipe's corpora, {name: folder}, as one manifest, with the labels and groups it wants.

    Persons of different corpora are different persons; a corpus that does not tell a group is taken
    whole where another tells it. Raises RecipeError or CorpusError where the corpora lack what is
    asked for, or nothing is left."""
    manifests = [
        read_corpus(name, corpora[name], recipe.corpus.pattern if name == "gemep" else None)
        for name in recipe.corpus.name
    ]
    labels = recipe.corpus.labels or manifests[0].labels
    if any(set(m.labels) != set(labels) for m in manifests) and not recipe.corpus.labels:
        raise RecipeError(f"{recipe.name}: its corpora have different labels: set corpus.labels.")
    unknown = [x for x in labels if all(x not in m.labels for m in manifests)]
    if unknown:
        known = ", ".join(manifests[0].labels)
        raise RecipeError(f"{recipe.name}: no corpus has the label {unknown[0]}. Known: {known}.")
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for manifest, where in zip(manifests, _wheres(recipe, manifests), strict=True):
        prefix = f"{manifest.corpus}: " if len(manifests) > 1 else ""
        left_out.update({prefix + reason: n for reason, n in manifest.left_out.items()})
        for sample in manifest.samples:
            reason = _unwanted(sample, labels, where)
            if reason:
                left_out[prefix + reason] += 1
                continue
            votes = _votes(sample, manifest.labels, labels)
            who = prefix + sample.subject if sample.subject else ""
            samples.append(replace(sample, path=sample.path.absolute(), subject=who, votes=votes))
    if not samples:
        raise CorpusError(
            f"{recipe.name}: no sample is left: {', '.join(left_out) or 'none was there'}."
        )
    shown = sorted({sample.label for sample in samples})
    if len(shown) < 2:
        raise CorpusError(f"{recipe.name}: every sample is of {shown[0]}: nothing to tell apart.")
    name = " + ".join(manifest.corpus for manifest in manifests)
    return Manifest(name, tuple(labels), tuple(samples), dict(left_out))


def _wheres(recipe: Recipe, manifests: Sequence[Manifest]) -> list[dict[str, str]]:
    """The recipe's groups, of each corpus those that it tells. Raises RecipeError for one that none
    does."""
    wanted = recipe.corpus.where
    told = [{name for sample in m.samples for name in sample.groups} for m in manifests]
    known: set[str] = set().union(*told)
    for column in wanted:
        if column not in known:
            names = ", ".join(sorted(known)) or "none"
            raise RecipeError(f"corpus.where: no group {column!r}. Known: {names}.")
    return [{name: wanted[name] for name in wanted if name in theirs} for theirs in told]


def _unwanted(sample: Sample, labels: Sequence[str], where: Mapping[str, str]) -> str:
    if sample.label not in labels:
        return f"label {sample.label}"
    for column, value in where.items():
        if sample.groups.get(column) != value:
            return f"{column} {sample.groups.get(column, 'unknown')}"
    return ""


def _votes(sample: Sample, theirs: Sequence[str], ours: Sequence[str]) -> tuple[float, ...] | None:
    """A sample's votes for the labels that are used; None where none of them got any."""
    if sample.votes is None or list(theirs) == list(ours):
        return sample.votes
    kept = [sample.votes[theirs.index(label)] if label in theirs else 0.0 for label in ours]
    return tuple(kept) if sum(kept) else None
