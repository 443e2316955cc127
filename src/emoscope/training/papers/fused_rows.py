"""A fusion that a paper prints, made of the runs that answer to its members' rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emoscope.training.evaluation.evaluate import Judged, corpus_words, main_figures, protocol_words
from emoscope.training.evaluation.fuse_runs import RULES, fused, random_folds, stack_runs
from emoscope.training.metrics import confusion_matrix
from emoscope.training.run_folder import Run

__all__ = ["FusedRow", "fuse_row"]

_DEALS = 5


@dataclass(frozen=True)
class FusedRow:
    """What a rule makes of several runs: on what it was measured, and figures as `measure` has
    them."""

    name: str
    what: str
    labels: tuple[str, ...]
    figures: Mapping[str, Any]


def fuse_row(rule: str, runs: Sequence[Run]) -> FusedRow:
    """Fuse finished runs by a rule. A clip that some cannot judge (no face, no sound) is answered
    by the others. With one fold a rule that learns, or weighs, does so from four fifths of the
    judged clips for the last one, which no run has been trained on. Raises RecipeError."""
    stack = stack_runs([run.folder for run in runs], partial=True)
    what = f"{corpus_words(runs[0])}; {protocol_words(runs[0].recipe)}"
    if RULES[rule].learns and len(set(stack.folds.tolist())) == 1:
        stack = random_folds(stack, _DEALS)
        what += f"; the rule learned from other clips that are judged, in {_DEALS} folds"
    silent = sum(np.isnan(probs).any(axis=1) for probs in stack.members.values())
    if lacking := int(np.count_nonzero(silent)):
        what += f"; clips that a member cannot judge: {lacking}"
    said = stack.predictions(fused(stack, rule))
    confusion = confusion_matrix(said.truth, said.predicted, len(said.labels)).tolist()
    figures = {**main_figures(Judged(said, {})), "samples": len(said.samples)}
    name = f"{rule} of {', '.join(stack.members)}"
    return FusedRow(name, what, stack.labels, {**figures, "confusion": confusion})
