"""An estimator's recipe as a job: fit its folds, and read back what ships."""

import time
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import onnx

from emoscope.core.arrays import FloatArray
from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.training.augment import Augmentation
from emoscope.training.estimators.onnx_graph import write_estimator
from emoscope.training.estimators.pipelines import ESTIMATORS, fit, predict_proba
from emoscope.training.estimators.search import check_options, choose
from emoscope.training.fold_training import FoldTraining, recipe_clip_spec
from emoscope.training.folds import Plan, check_persons
from emoscope.training.networks.dataset import distributions
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder

__all__ = ["EstimatorJob"]

_FILE = "estimator.onnx"


class EstimatorJob:
    """Training of a scikit-learn estimator. See `emoscope.training.jobs.Job`."""

    kind = "estimator"
    parameters = None

    def __init__(self, recipe: Recipe, labels: Sequence[str]) -> None:
        """Raises RecipeError for settings that only networks have."""
        model = recipe.model
        if recipe.schedule is not None:
            raise RecipeError(
                f"{recipe.name}: {model.name} is an estimator and is not trained in epochs: leave "
                "optimiser and schedule out."
            )
        makes_variants = recipe.protocol.name == "augmented-random-80-20"
        if recipe.augmentation != Augmentation() and not makes_variants:
            raise RecipeError(
                f"{recipe.name}: {model.name} is an estimator and is not augmented per epoch: "
                "leave the augmentation out, or choose a protocol that makes variants."
            )
        if model.weights is not None:
            raise RecipeError(
                f"{recipe.name}: model.weights is for networks, {model.name} is an estimator."
            )
        if model.frozen:
            raise RecipeError(
                f"{recipe.name}: model.frozen is for networks, {model.name} is an estimator."
            )
        check_options(model.name, model.options, model.search)
        self.recipe, self.labels = recipe, tuple(labels)
        self.spec = recipe_clip_spec(recipe, ESTIMATORS[model.name].clip_spec)

    def check(self) -> str:
        """Do nothing: the constructor checks all settings of an estimator."""
        return ""

    def check_plan(self, plan: Plan) -> None:
        """Refuse folds in which a class is learned from one person. Raises RecipeError."""
        check_persons(plan, self.recipe.model.name)

    def fit(self, fold: FoldTraining) -> None:
        """Search the settings, fit, and predict the test side."""
        start_s = time.monotonic()
        model, train = self.recipe.model, fold.samples("train")
        features, options = self._features(fold, train), model.options
        truth = distributions(train, self.labels).argmax(axis=1)
        subjects = np.array([sample.subject for sample in train])
        search: dict[str, Any] = {}
        if model.search:
            choice = choose(model.name, options, model.search, features, truth, subjects, fold.seed)
            options, search = {**options, **choice.chosen}, choice.facts()
        num_classes = len(self.labels)
        fitted = fit(model.name, options, features, truth, subjects, num_classes, fold.seed)
        seconds = time.monotonic() - start_s
        if fold.is_exported:
            write_estimator(fitted, fold.folder / _FILE)
        probs = {}
        if test := fold.samples("test"):
            probs[fold.run.votes[0]] = predict_proba(fitted, self._features(fold, test))
        facts = {"temperature": 1.0, "seconds": seconds, "epochs": 0, "chosen_epoch": 0}
        fold.finish(probs, **facts, **search)

    def _features(self, fold: FoldTraining, samples: Sequence[Sample]) -> dict[str, FloatArray]:
        """{stream: (N, D)}."""
        clips = fold.clips(samples)
        vectors = [clips[i][0] for i in range(len(clips))]
        return {
            v.kind: np.stack([one[v.kind].numpy() for one in vectors]) for v in self.spec.vectors
        }

    def graph(self, run: RunFolder) -> onnx.ModelProto:
        """The ONNX graph of a finished run. Raises RecipeError."""
        return run.load_exported(_FILE, onnx.load)

    def trained_network(self, run: RunFolder) -> NoReturn:
        """Raise RecipeError: an estimator is not a network."""
        raise RecipeError(
            f"{run.folder}: {self.recipe.model.name} is an estimator and has no layers. Give the "
            "run of a network."
        )
