"""Fusion rules that scikit-learn learns from the models' probabilities side by side.

The probabilities must be out of fold. A model is too confident about the clips it was trained on,
and a rule learned from those would trust it too much; `training.evaluation.fuse_runs` joins
finished runs, whose predictions are out of fold.

To add a rule, write a function that returns a Pipeline under `@pipeline_rule(name)` here. C = 18.5
of the SVM is Fan & Ke's (paper 001); its kernel and the forests are ours.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import onnx
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from emoscope.analysis.fusion import (
    RULE_INPUT,
    RULE_KEY,
    RULE_SUFFIX,
    RULES,
    RuleCard,
    SystemRule,
    fuse_complete_rows,
    load_rule,
    stacked,
)
from emoscope.core.arrays import FloatArray, IntArray, StrArray
from emoscope.core.errors import RecipeError, SpecError
from emoscope.media.files import replacing
from emoscope.training.estimators.onnx_graph import estimator_graph
from emoscope.training.estimators.pipelines import Fitted, fit_pipeline, predict_proba

__all__ = ["RULES", "FittedPipelineRule", "PipelineRule", "pipeline_rule"]


class _SideBySide(NamedTuple):
    """The input of a rule: the models' probabilities side by side."""

    kind: str
    dimensions: int


class PipelineRule:
    """A rule that a scikit-learn pipeline learns."""

    learns = True

    def __init__(self, name: str, build: Callable[[], Pipeline]) -> None:
        self.name, self.build = name, build
        self.__doc__ = build.__doc__

    def fit(
        self,
        probs: Mapping[str, FloatArray],
        truth: IntArray,
        subjects: StrArray,
        seed: int,
    ) -> "FittedPipelineRule":
        """Fit to out-of-fold probabilities {model: (N, C)}, (N,) classes and (N,) subjects.

        Probabilities are calibrated by subject, as every estimator's are. Clips that a model is
        missing from are left out. Raises SpecError, RecipeError."""
        values = stacked(probs)
        if not len(truth) == len(subjects) == values.shape[1]:
            raise SpecError(f"{self.name}: {values.shape[1]} clips, but {len(truth)} labels.")
        complete = ~np.isnan(values).any(axis=(0, 2))
        if len(probs) < 2 or not complete.any():
            raise RecipeError(
                f"{self.name}: no clip has the probabilities of two models. Fuse runs tested on "
                "the same clips."
            )
        inputs = np.concatenate(values[:, complete], axis=1)
        fitted = fit_pipeline(
            self.name,
            self.build,
            _SideBySide(RULE_INPUT, inputs.shape[1]),
            {RULE_INPUT: inputs},
            np.asarray(truth)[complete],
            np.asarray(subjects)[complete],
            values.shape[2],
            seed,
        )
        return FittedPipelineRule(tuple(probs), fitted)

    def with_weights(self, models: Collection[str], weights: Mapping[str, float]) -> NoReturn:
        """Raise SpecError: a system names the file of a learned rule."""
        raise SpecError(
            f"The rule {self.name} must be learned. Name the {RULE_SUFFIX} file that `emoscope "
            "fuse` writes."
        )


def pipeline_rule(name: str) -> Callable[[Callable[[], Pipeline]], Callable[[], Pipeline]]:
    """Register a function that returns an unfitted Pipeline as a rule that learns."""

    def register(build: Callable[[], Pipeline]) -> Callable[[], Pipeline]:
        RULES.add(name, PipelineRule(name, build))
        return build

    return register


@pipeline_rule("svm")
def _svm() -> Pipeline:
    """A support vector classifier, C = 18.5 (Fan & Ke), with a Gaussian kernel (ours)."""
    return Pipeline([("svm", SVC(C=18.5))])


@pipeline_rule("random-forest")
def _random_forest() -> Pipeline:
    """100 trees with at least five clips a leaf (ours)."""
    return Pipeline([("forest", RandomForestClassifier(100, min_samples_leaf=5))])


@pipeline_rule("adaboost")
def _adaboost() -> Pipeline:
    """AdaBoost (Freund & Schapire, 1997) of 100 trees of depth two (ours)."""
    trees = DecisionTreeClassifier(max_depth=2)
    return Pipeline([("boost", AdaBoostClassifier(trees, n_estimators=100, learning_rate=0.5))])


@dataclass(frozen=True, eq=False)
class FittedPipelineRule:
    """A learned rule with calibrated probabilities."""

    members: tuple[str, ...]
    fitted: Fitted

    def __call__(self, probs: Mapping[str, FloatArray]) -> FloatArray:
        """{model: (N, C)} -> (N, C), by `analysis.fusion.fuse_complete_rows`."""
        return fuse_complete_rows(
            probs, self.members, lambda inputs: predict_proba(self.fitted, {RULE_INPUT: inputs})
        )

    def export(self, stem: Path, card: RuleCard) -> SystemRule:
        """Write STEM.rule.onnx, and read it again to check it. Raises BundleError."""
        graph = estimator_graph(self.fitted)
        onnx.helper.set_model_props(graph, {RULE_KEY: card.model_dump_json()})
        path = stem.with_name(stem.name + RULE_SUFFIX)
        with replacing(path) as part:
            onnx.save(graph, part)
            load_rule(part)
        return SystemRule(path.name, {})
