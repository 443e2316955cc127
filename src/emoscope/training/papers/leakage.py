"""What a leaking protocol adds to a system's accuracy: the same system, the same persons, measured
with them on both sides and with them left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from emoscope.training.evaluation.evaluate import corpus_words, judge, protocol_words
from emoscope.training.evaluation.report import Table, with_interval
from emoscope.training.metrics import Difference, bootstrap_ci, protocol_difference
from emoscope.training.recipe import AugmentedRandom
from emoscope.training.run_folder import RunFolder

__all__ = ["Inflation", "inflation", "inflation_table"]


@dataclass(frozen=True)
class Inflation:
    """Figures "accuracy" and "accuracy_ci95" (over persons), and how much the leak adds."""

    leaky: Mapping[str, Any]
    honest: Mapping[str, Any]
    added: Difference
    persons: int


def inflation(leaky: RunFolder, honest: RunFolder) -> Inflation:
    """Of one system under two protocols. Raises RecipeError for a run that is not finished,
    ValueError where they did not judge the same, known persons."""
    sides = [judge(run).predictions for run in (honest, leaky)]
    (right_a, who_a), (right_b, who_b) = (
        (said.truth == said.predicted, said.subjects) for said in sides
    )
    added = protocol_difference(right_a, who_a, right_b, who_b)
    honestly, leakily = (
        {"accuracy": right.mean(), "accuracy_ci95": bootstrap_ci(right, who)}
        for right, who in ((right_a, who_a), (right_b, who_b))
    )
    return Inflation(leakily, honestly, added, len(np.unique(who_a)))


def inflation_table(runs: Sequence[RunFolder]) -> Table:
    """A line for every two of the runs that are of one system and corpus, one of them on variants
    split at random, the other by persons; no lines where there are none."""
    rows = []
    for leaky, honest in _pairs(runs):
        found = inflation(leaky, honest)
        points = [100 * x for x in (found.added.difference, found.added.low, found.added.high)]
        rows.append(
            (
                str(leaky.info["model"]),
                corpus_words(leaky),
                protocol_words(leaky.recipe),
                with_interval(found.leaky, "accuracy"),
                protocol_words(honest.recipe),
                with_interval(found.honest, "accuracy"),
                "{:+.1f} ({:+.1f} to {:+.1f})".format(*points),
                str(found.persons),
            )
        )
    return Table(
        "What the leak adds",
        (
            "system",
            "corpus",
            "leaking protocol",
            "ours: accuracy there",
            "protocol by persons",
            "ours: accuracy there",
            "points added",
            "persons",
        ),
        tuple(rows),
        "Intervals: 95 %, over persons.",
    )


def _pairs(runs: Sequence[RunFolder]) -> Iterator[tuple[RunFolder, RunFolder]]:
    for leaky, honest in product(runs, runs):
        is_leaky = [isinstance(run.recipe.protocol, AugmentedRandom) for run in (leaky, honest)]
        if is_leaky == [True, False] and _system(leaky) == _system(honest):
            yield leaky, honest


def _system(run: RunFolder) -> tuple[object, ...]:
    recipe = run.recipe
    persons = {s.subject for s in run.samples}
    return recipe.model, recipe.clip, recipe.corpus, run.info["corpora"], persons
