"""A network's recipe as a job: check it, fit its folds, and build what ships."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import lightning as pl
import onnx
import torch
from torch import nn

from emoscope.core.arrays import FloatArray
from emoscope.core.errors import RecipeError, SpecError
from emoscope.media.files import replacing
from emoscope.models import Network
from emoscope.models.checkpoints import freeze
from emoscope.training.fold_training import FoldTraining, recipe_clip_spec
from emoscope.training.folds import Plan
from emoscope.training.metrics import fit_temperature
from emoscope.training.networks.build import create_network, initial_network
from emoscope.training.networks.callbacks import save_tensors
from emoscope.training.networks.code import NetworkCode, check_contract
from emoscope.training.networks.dataset import ClipDataset, shrunk
from emoscope.training.networks.distillation import check_teacher
from emoscope.training.networks.fit import FitSettings, fit_network
from emoscope.training.networks.frozen_features import Features, Head, why_not_kept
from emoscope.training.networks.onnx_graph import (
    GraphNetwork,
    checked_graph,
    hidden_convolutions,
    in_eight_bits,
    network_graph,
)
from emoscope.training.networks.predict import clip_logits, clip_probs, voted_probs
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import EIGHT_BITS, RunFolder, read_json

__all__ = ["NetworkJob"]

_WEIGHTS = "weights.pt"


class NetworkJob:
    """Training of a network. See `emoscope.training.jobs.Job`."""

    kind = "network"

    def __init__(
        self, recipe: Recipe, labels: Sequence[str], code: NetworkCode | None = None
    ) -> None:
        """Raises UnknownName, or RecipeError for settings that the network cannot use.

        code   the source of a network that is not registered"""
        model = recipe.model
        if model.search:
            raise RecipeError(
                f"{recipe.name}: model.search is for estimators, {model.name} is a network."
            )
        self.settings = FitSettings.from_recipe(recipe)
        if model.frozen and model.weights is None:
            raise RecipeError(
                f"{recipe.name}: model.frozen needs model.weights, the file with the weights to "
                "freeze. Add --set model.weights=FILE."
            )
        self.recipe, self.labels, self.code = recipe, tuple(labels), code
        network = create_network(recipe, len(labels), code)
        if code is not None:
            check_contract(network, model.name, len(labels))
        if network.clip_spec.audio_streams and recipe.evaluation.every:
            raise RecipeError(
                f"{recipe.name}: evaluation.every cuts frames into blocks, but {model.name} takes "
                "the sound of a whole clip: leave it out."
            )
        self.spec = recipe_clip_spec(recipe, network.clip_spec)
        if model.frozen:
            freeze(network)
        self.parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)

    def check(self) -> str:
        """Refuse a teacher, picture sizes, a precision or weights that do not fit the network.

        Returns a line about the published weights, or "". Raises RecipeError."""
        recipe, num_classes = self.recipe, len(self.labels)
        check_teacher(recipe, self.spec, self.labels)
        scales = {scale for _, scale in self.settings.schedule.grow}
        is_int8 = recipe.bundle.precision == "int8"
        if not (scales or is_int8 or recipe.model.weights):
            return ""
        network, note = initial_network(recipe, num_classes, self.code)
        if scales:
            self._check_picture_sizes(network, scales)
        if is_int8:
            hidden_convolutions(network_graph(network))
        if recipe.model.frozen:
            reason = why_not_kept(recipe, self.spec, network)
            note += "; frozen, its features " + (
                f"computed in every epoch: {reason}" if reason else "computed once and kept"
            )
        return note

    def check_plan(self, plan: Plan) -> None:
        """Do nothing: a network can be trained on any fold."""

    def _check_picture_sizes(self, network: Network, scales: set[float]) -> None:
        try:
            with torch.inference_mode():
                for scale in scales:
                    network.eval()(**shrunk(network.example_inputs(1), scale))
        except (RuntimeError, ValueError, SpecError):
            raise RecipeError(
                f"{self.recipe.name}: schedule.grow starts with smaller pictures, but "
                f"{self.recipe.model.name} takes one size only: leave it out."
            ) from None

    def fit(self, fold: FoldTraining) -> None:
        """Train, fit the temperature on the hold-out, and predict the test side."""
        pl.seed_everything(fold.seed, verbose=False)
        network, _ = initial_network(self.recipe, len(self.labels), self.code)
        features = self._kept_features(fold, network)
        load_features = features.read if features else None
        train = fold.clips(fold.samples("train"), load_features)
        clear = [sample for sample in fold.samples("holdout") if sample.is_clear]
        holdout = fold.clips(clear, load_features)
        fitted = fit_network(
            Head(network) if features else network,
            self.settings,
            fold.seed,
            train,
            holdout,
            fold.folder,
            fold.hardware,
            fold.observer.progress,
            fold.check_owner,
        )
        if not fitted.is_first_process:
            return
        network.to(fold.hardware.device)
        if fold.is_exported:
            save_tensors(network.state_dict(), fold.folder / _WEIGHTS)
        shipped = self._shipped(fold, network)
        predictor = Head(network) if features else shipped
        temperature = 1.0
        if len(holdout):
            truth = holdout.targets.argmax(dim=1).numpy()
            temperature = fit_temperature(clip_logits(predictor, holdout, self._batch_size), truth)
        probs: dict[str, FloatArray] = {}
        if len(test := fold.clips(fold.samples("test"), load_features)):
            votes, every = fold.run.votes, self.recipe.evaluation.every
            if every:  # all blocks of a clip; kept features are of one stretch only
                probs = voted_probs(shipped, test, temperature, every, votes, self._batch_size)
            else:
                probs = {votes[0]: clip_probs(predictor, test, temperature, self._batch_size)}
        fold.finish(
            probs,
            temperature=temperature,
            seconds=fitted.seconds,
            epochs=fitted.epochs,
            chosen_epoch=fitted.chosen_epoch,
        )
        shutil.rmtree(fold.folder / "checkpoints")  # those of many folds would fill a disk

    @property
    def _batch_size(self) -> int:
        """Clips per batch in evaluation, never more than fit into memory in training."""
        return min(64, self.settings.schedule.batch_size)

    def _kept_features(self, fold: FoldTraining, network: Network) -> Features | None:
        """The features of the frozen part for all clips of the run, computed where they are not in
        the cache; None for a network that learns as a whole or whose features change."""
        recipe, run = self.recipe, fold.run
        if not recipe.model.frozen or why_not_kept(recipe, self.spec, network):
            return None
        code = self.code.sha256 if self.code else ""
        features = Features(recipe, self.spec, fold.prepared, run.info["weights"], code)
        whole = fold.prepared.how.keeps_all
        clips = ClipDataset(run.samples, run.labels, self.spec, fold.prepared.load, whole=whole)
        features.fill(network, clips, fold.hardware.device, fold.observer.features_computed)
        return features

    def _shipped(self, fold: FoldTraining, network: Network) -> nn.Module:
        """The network with the bundle's precision, which is what is evaluated."""
        if self.recipe.bundle.precision == "float32":
            return network
        train = fold.clips(fold.samples("train"))
        graph = in_eight_bits(network_graph(network.cpu()), train)
        if fold.is_exported:
            with replacing(fold.folder / EIGHT_BITS) as part:
                onnx.save(graph, part)
        return GraphNetwork(graph)

    def graph(self, run: RunFolder) -> onnx.ModelProto:
        """The ONNX graph of a finished run. Raises RecipeError, or BundleError for a graph whose
        probabilities differ from torch's."""
        if self.recipe.bundle.precision == "int8":
            return run.load_exported(EIGHT_BITS, onnx.load)
        temperature = read_json(run.exported_file("fold.json"))["temperature"]
        return checked_graph(self.trained_network(run), self.recipe.name, temperature)

    def trained_network(self, run: RunFolder) -> Network:
        """The network of a finished run with its weights, in eval mode. Raises RecipeError."""
        network = create_network(self.recipe, len(self.labels), self.code)

        def load(path: Path) -> None:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

        run.load_exported(_WEIGHTS, load)
        return network.eval()
