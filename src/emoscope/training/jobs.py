"""From a recipe to its job: the training of a network, or of an estimator.

train ─► prepare ─► cut clips ─► plan folds ─► job.fit(fold), fold by fold ─► evaluate ─► export
"""

import difflib
from collections.abc import Sequence
from typing import Protocol

import onnx
import torch

from emoscope import models
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import UnknownName
from emoscope.models import Network
from emoscope.training.estimators.job import EstimatorJob
from emoscope.training.estimators.pipelines import ESTIMATORS
from emoscope.training.fold_training import FoldTraining
from emoscope.training.folds import Plan
from emoscope.training.networks.code import NetworkCode, code_of_run
from emoscope.training.networks.job import NetworkJob
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder

__all__ = ["Job", "model_clip_spec", "prepare", "prepare_run"]


class Job(Protocol):
    """A recipe whose kind of model is decided and whose settings are checked."""

    @property
    def kind(self) -> str:
        """ "network" or "estimator"."""

    @property
    def spec(self) -> ClipSpec:
        """The model's ClipSpec with the recipe's changes."""

    @property
    def parameters(self) -> int | None:
        """Trainable parameters of a network; None for an estimator."""

    def check(self) -> str:
        """Check what takes time, before clips are cut or files written.

        Returns a line about published weights, or "". Raises RecipeError."""

    def check_plan(self, plan: Plan) -> None:
        """Refuse folds that the model cannot be trained on. Raises RecipeError."""

    def fit(self, fold: FoldTraining) -> None:
        """Train one fold under one seed, and write its files; fold.json comes last."""

    def graph(self, run: RunFolder) -> onnx.ModelProto:
        """The ONNX graph of a finished run's bundle. Raises RecipeError or BundleError."""

    def trained_network(self, run: RunFolder) -> Network:
        """The network of a finished run in eval mode. Raises RecipeError, also for an estimator."""


def prepare(recipe: Recipe, labels: Sequence[str], code: NetworkCode | None = None) -> Job:
    """Decide the kind of a recipe's model and check its settings.

    code   the source of a network that is not registered
    Raises UnknownName, or RecipeError for settings that the model cannot use."""
    name = recipe.model.name
    if code is None and name in ESTIMATORS:
        return EstimatorJob(recipe, labels)
    if code is not None or name in models.MODELS:
        return NetworkJob(recipe, labels, code)
    known = (*models.names(), *ESTIMATORS)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    raise UnknownName(f"{recipe.name}: no model named {name!r}. {hint}")


def prepare_run(run: RunFolder, allow_code: bool = False) -> Job:
    """`prepare` for the recipe of a run folder.

    allow_code   run the Python source kept in the folder, if its network is not registered"""
    return prepare(run.recipe, run.labels, code_of_run(run, allow_code))


def model_clip_spec(name: str) -> ClipSpec:
    """The ClipSpec of a network or an estimator with its default options. Raises UnknownName."""
    if name in ESTIMATORS:
        return ESTIMATORS[name].clip_spec
    with torch.device("meta"):  # the weights are not needed, and some are half a gigabyte
        return models.create(name).clip_spec
