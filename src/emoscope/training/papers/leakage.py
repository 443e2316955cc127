"""How much a leaking protocol adds to the accuracy of a system.

The same system is measured on the same people, with them on both sides of the split and held out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from emoscope.training.evaluation.evaluate import corpus_words, judge, protocol_words
from emoscope.training.evaluation.tables import Table, points, with_interval
from emoscope.training.metrics import Difference, bootstrap_ci, protocol_difference
from emoscope.training.recipe import AugmentedRandom
from emoscope.training.run_folder import RunFolder

__all__ = ["Inflation", "inflation", "inflation_table"]


@dataclass(frozen=True)
class Inflation:
    """Accuracy with its interval over people under both protocols, and the difference."""

    leaky: Mapping[str, Any]
    honest: Mapping[str, Any]
    added: Difference
    persons: int


def inflation(leaky: RunFolder, honest: RunFolder) -> Inflation:
    """Compare one system under two protocols. Raises RecipeError for an unfinished run, ValueError
    if the runs were not tested on the same, known people."""
    sides = [judge(run).predictions for run in (honest, leaky)]
    (right_a, who_a), (right_b, who_b) = (
        (side.truth == side.predicted, side.subjects) for side in sides
    )
    added = protocol_difference(right_a, who_a, right_b, who_b)
    honest_figures, leaky_figures = (
        {"accuracy": right.mean(), "accuracy_ci95": bootstrap_ci(right, who)}
        for right, who in ((right_a, who_a), (right_b, who_b))
    )
    return Inflation(leaky_figures, honest_figures, added, len(np.unique(who_a)))


def inflation_table(runs: Sequence[RunFolder]) -> Table:
    """Return a row for every two runs of one system and corpus, one with variants split at random,
    the other split by person."""
    rows = []
    for leaky, honest in product(runs, runs):
        is_leaky = [isinstance(run.recipe.protocol, AugmentedRandom) for run in (leaky, honest)]
        if is_leaky != [True, False] or _system(leaky) != _system(honest):
            continue
        compared = inflation(leaky, honest)
        rows.append(
            (
                str(leaky.info["model"]),
                corpus_words(leaky),
                protocol_words(leaky.recipe),
                with_interval(compared.leaky, "accuracy"),
                protocol_words(honest.recipe),
                with_interval(compared.honest, "accuracy"),
                points(compared.added),
                str(compared.persons),
            )
        )
    return Table(
        "Accuracy gained by the leak",
        (
            "system",
            "corpus",
            "leaking protocol",
            "ours: accuracy there",
            "protocol by person",
            "ours: accuracy there",
            "percentage points added",
            "people",
        ),
        tuple(rows),
        "In brackets: 95 % confidence intervals by bootstrap over people.",
    )


def _system(run: RunFolder) -> tuple[object, ...]:
    """Everything that two runs must share to be compared."""
    recipe = run.recipe
    persons = {s.subject for s in run.samples}
    return recipe.model, recipe.clip, recipe.corpus, run.info["corpora"], persons
