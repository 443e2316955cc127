"""Fusion rules that learn: classifiers of what several models have said of a clip.

They learn from the models' probabilities side by side, and those must be out of fold: of a clip
that a model was trained on it is too sure, and a rule learned from that trusts it too much.
`training.evaluation.fuse_runs` joins finished runs, whose predictions are. To add a rule, write it
here and register it. Fan & Ke (paper 001) print C = 18.5 for their SVM; kernel and forests are
ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from emoscope.analysis.fusion import (
    RULE_INPUT,
    RULE_KEY,
    LearnedRule,
    RuleCard,
    by_learning,
    load_rule,
    stacked,
)
from emoscope.core.arrays import FloatArray, IntArray, StrArray
from emoscope.core.errors import RecipeError, SpecError
from emoscope.core.registry import Registry
from emoscope.media.files import replacing
from emoscope.training.estimators.onnx_graph import estimator_graph
from emoscope.training.estimators.pipelines import Fitted, fit_pipeline, predict_proba

__all__ = ["LEARNED", "FittedFusion", "export_fusion", "fit_fusion"]


LEARNED: Registry[Callable[[], Pipeline]] = Registry("learned fusion rule")


@LEARNED.register("svm")
def _svm() -> Pipeline:
    """A support vector classifier, C = 18.5 (Fan & Ke), with a Gaussian kernel (ours)."""
    return Pipeline([("svm", SVC(C=18.5))])


@LEARNED.register("random-forest")
def _random_forest() -> Pipeline:
    """100 trees whose leaves hold five clips at least (ours)."""
    return Pipeline([("forest", RandomForestClassifier(100, min_samples_leaf=5))])


@LEARNED.register("adaboost")
def _adaboost() -> Pipeline:
    """AdaBoost (Freund & Schapire, 1997) of 100 trees two decisions deep (ours)."""
    trees = DecisionTreeClassifier(max_depth=2)
    return Pipeline([("boost", AdaBoostClassifier(trees, n_estimators=100, learning_rate=0.5))])


class _Side(NamedTuple):
    """The models' probabilities side by side."""

    kind: str
    dimensions: int


@dataclass(frozen=True, eq=False)
class FittedFusion:
    """A rule that has learned, with calibrated probabilities."""

    members: tuple[str, ...]
    fitted: Fitted

    def __call__(self, probs: Mapping[str, FloatArray]) -> FloatArray:
        """{model: (N, C)} -> (N, C); where a model is missing the average of the others, as
        `analysis.fusion` has it."""

        def answer(inputs: FloatArray) -> FloatArray:
            return predict_proba(self.fitted, {RULE_INPUT: inputs})

        return by_learning(probs, self.members, answer)


def fit_fusion(
    rule: str,
    probs: Mapping[str, FloatArray],
    truth: IntArray,
    subjects: StrArray,
    seed: int,
) -> FittedFusion:
    """Learn a rule of LEARNED from out-of-fold probabilities {model: (N, C)}, (N,) classes in
    0..C-1 and (N,) subjects, on whom it is calibrated as every estimator is.

    Clips of which not all models speak are left out. Raises UnknownName, SpecError, RecipeError."""
    build, said = LEARNED[rule], stacked(probs)
    if not len(truth) == len(subjects) == said.shape[1]:
        raise SpecError(f"{rule}: {said.shape[1]} clips, {len(truth)} answers to learn.")
    whole = ~np.isnan(said).any(axis=(0, 2))
    if len(probs) < 2 or not whole.any():
        raise RecipeError(f"{rule}: no clip of which two models speak. There is nothing to learn.")
    inputs = np.concatenate(said[:, whole], axis=1)
    fitted = fit_pipeline(
        rule,
        build,
        _Side(RULE_INPUT, inputs.shape[1]),
        {RULE_INPUT: inputs},
        np.asarray(truth)[whole],
        np.asarray(subjects)[whole],
        said.shape[2],
        seed,
    )
    return FittedFusion(tuple(probs), fitted)


def export_fusion(fusion: FittedFusion, card: RuleCard, path: Path) -> LearnedRule:
    """Write a rule as ONNX; kept only if it answers as scikit-learn does. Raises BundleError."""
    graph = estimator_graph(fusion.fitted)
    onnx.helper.set_model_props(graph, {RULE_KEY: card.model_dump_json()})
    with replacing(path) as part:
        onnx.save(graph, part)
        return load_rule(part)
