"""A fusion that a paper reports, made from the runs that reproduce its members' rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emoscope.training.evaluation.evaluate import Judged, corpus_words, main_figures, protocol_words
from emoscope.training.evaluation.fuse_runs import RULES, fused, random_folds, stack_runs
from emoscope.training.metrics import confusion_matrix
from emoscope.training.run_folder import RunFolder

__all__ = ["FusedRow", "fuse_row"]

_FOLDS = 5


@dataclass(frozen=True)
class FusedRow:
    """The result of fusing several runs: what it was measured on, and figures as from `measure`."""

    name: str
    what: str
    labels: tuple[str, ...]
    figures: Mapping[str, Any]


def fuse_row(rule: str, runs: Sequence[RunFolder]) -> FusedRow:
    """Fuse finished runs by a rule. Raises RecipeError.

    A clip that some members cannot predict (no face, no sound) is predicted by the others. If the
    protocol has one fold, a rule that learns, or has weights, is fitted by five-fold
    cross-validation over the test clips, which no run was trained on."""
    stack = stack_runs([run.folder for run in runs], partial=True)
    what = f"{corpus_words(runs[0])}; {protocol_words(runs[0].recipe)}"
    if RULES[rule].learns and len(set(stack.folds.tolist())) == 1:
        stack = random_folds(stack, _FOLDS)
        what += f"; the rule fitted by {_FOLDS}-fold cross-validation over the test clips"
    unpredicted = sum(np.isnan(probs).any(axis=1) for probs in stack.members.values())
    if count := int(np.count_nonzero(unpredicted)):
        what += f"; clips that a member cannot predict: {count}"
    predictions = stack.predictions(fused(stack, rule))
    confusion = confusion_matrix(
        predictions.truth, predictions.predicted, len(predictions.labels)
    ).tolist()
    figures = {**main_figures(Judged(predictions, {})), "samples": len(predictions.samples)}
    name = f"{rule} of {', '.join(stack.members)}"
    return FusedRow(name, what, stack.labels, {**figures, "confusion": confusion})
