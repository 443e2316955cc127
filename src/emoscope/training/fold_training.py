"""One part of a run: a fold under a seed, from its rows to its predictions."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as pl
import numpy as np
import onnx
from torch import nn

from emoscope.core.clipspec import ClipSpec
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import Prepared
from emoscope.media.files import replacing
from emoscope.models import Network
from emoscope.training import estimators
from emoscope.training.estimators.onnx_graph import write_estimator
from emoscope.training.estimators.search import choose
from emoscope.training.metrics import fit_temperature
from emoscope.training.networks.build import beginning
from emoscope.training.networks.callbacks import Progress, save_tensors
from emoscope.training.networks.dataset import ClipDataset, distributions
from emoscope.training.networks.fit import Hardware, fit_network
from emoscope.training.networks.frozen_features import Features, Head
from emoscope.training.networks.onnx_graph import GraphNetwork, in_eight_bits, network_graph
from emoscope.training.networks.predict import clip_logits, clip_probs, voted_probs
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import EIGHT_BITS, Run, part_folder, write_json, write_table

__all__ = ["Part", "fit_part"]


@dataclass(frozen=True, eq=False)
class Part:
    """All that the training of one fold and seed needs to know. `features` are those of a frozen
    part, where they are kept."""

    run: Run
    spec: ClipSpec
    prepared: Prepared
    hardware: Hardware
    rows: Mapping[str, Any]  # of folds.json
    seed: int
    features: Features | None = None

    @property
    def folder(self) -> Path:
        return part_folder(self.run.folder, self.rows["name"], self.seed)

    def samples(self, side: str) -> list[Sample]:
        return [self.run.samples[row] for row in self.rows[side]]

    def clips(self, samples: Sequence[Sample]) -> ClipDataset:
        return ClipDataset(
            samples,
            self.run.labels,
            self.spec,
            self.prepared.load,
            self.run.recipe.augmentation,
            self.seed,
            whole=self.prepared.how.keeps_all,
            features=self.features.read if self.features else None,
        )


def fit_part(part: Part, report: Callable[[Progress], None]) -> None:
    """Train on its training side, answer for its test side, leave its folder done."""
    if part.run.info["estimator"]:
        _fit_estimator(part)
    else:
        _fit_network(part, report)


def _fit_estimator(part: Part) -> None:
    """Choose settings where they are searched, fit, keep as ONNX, answer for the test part."""
    begun_s = time.monotonic()
    model, labels, train = part.run.recipe.model, part.run.labels, part.samples("train")
    features, options = _features(part, train), model.options
    truth = distributions(train, labels).argmax(axis=1)
    subjects = np.array([sample.subject for sample in train])
    searched: dict[str, Any] = {}
    if model.search:
        choice = choose(model.name, options, model.search, features, truth, subjects, part.seed)
        options, searched = {**options, **choice.chosen}, choice.facts()
    fitted = estimators.fit(model.name, options, features, truth, subjects, len(labels), part.seed)
    seconds = time.monotonic() - begun_s
    if (part.rows["name"], part.seed) == part.run.exported:
        write_estimator(fitted, part.folder / "estimator.onnx")
    test = part.samples("test")
    answers = {}
    if test:
        answers[part.run.votes[0]] = estimators.predict_proba(fitted, _features(part, test))
    facts = {"temperature": 1.0, "seconds": seconds, "epochs": 0, "chosen_epoch": 0}
    _finish(part, answers, **facts, **searched)


def _features(part: Part, samples: Sequence[Sample]) -> dict[str, Any]:
    """{stream: (N, D)}."""
    clips = part.clips(samples)
    vectors = [clips[i][0] for i in range(len(clips))]
    return {v.kind: np.stack([one[v.kind].numpy() for one in vectors]) for v in part.spec.vectors}


def _fit_network(part: Part, report: Callable[[Progress], None]) -> None:
    """Train, fit the temperature on the hold-out, answer for the test part."""
    recipe = part.run.recipe
    pl.seed_everything(part.seed, verbose=False)
    model, _ = beginning(recipe, len(part.run.labels))
    train, holdout = (part.samples(side) for side in ("train", "holdout"))
    judged = part.clips([sample for sample in holdout if sample.is_clear])
    learner = _learner(part, model)
    fitted = fit_network(
        learner,
        recipe,
        part.seed,
        part.clips(train),
        judged,
        part.folder,
        part.hardware,
        report,
    )
    if not fitted.is_first_process:
        return
    model.to(part.hardware.device)
    if (part.rows["name"], part.seed) == part.run.exported:
        save_tensors(model.state_dict(), part.folder / "weights.pt")
    shipped = _as_shipped(part, model)
    temperature = 1.0
    if len(judged):
        truth = judged.targets.argmax(dim=1).numpy()
        logits = clip_logits(_learner(part, shipped), judged, _batch_size(recipe))
        temperature = fit_temperature(logits, truth)
    answers = _answers(part, shipped, temperature)
    _finish(
        part,
        answers,
        temperature=temperature,
        seconds=fitted.seconds,
        epochs=fitted.epochs,
        chosen_epoch=fitted.chosen_epoch,
    )
    shutil.rmtree(part.folder / "checkpoints")  # a hundred folds of them would fill a disk


def _as_shipped(part: Part, model: Network) -> nn.Module:
    """The network as its bundle will answer, which is what is to be judged: itself, or in eight
    bits, whose graph is kept where it becomes the bundle."""
    if part.run.recipe.bundle.precision == "float32":
        return model
    graph = in_eight_bits(network_graph(model.cpu()), part.clips(part.samples("train")))
    if (part.rows["name"], part.seed) == part.run.exported:
        with replacing(part.folder / EIGHT_BITS) as file:
            onnx.save(graph, file)
    return GraphNetwork(graph)


def _answers(part: Part, model: nn.Module, temperature: float) -> dict[str, Any]:
    """{vote: (N, C)} for the test part; nothing where there is none."""
    test, votes = part.clips(part.samples("test")), part.run.votes
    if not len(test):
        return {}
    size = _batch_size(part.run.recipe)
    if every := part.run.recipe.evaluation.every:  # of all blocks; features are of one stretch
        return voted_probs(model, test, temperature, every, votes, size)
    return {votes[0]: clip_probs(_learner(part, model), test, temperature, size)}


def _learner(part: Part, model: nn.Module) -> nn.Module:
    """What the clips are shown to: the network, or what is left of it behind its frozen part."""
    return model if part.features is None else Head(model)


def _batch_size(recipe: Recipe) -> int:
    """Of clips that are judged: what fits into memory to learn from does so to be judged."""
    assert recipe.schedule is not None
    return min(64, recipe.schedule.batch_size)


def _finish(part: Part, answers: Mapping[str, Any], **facts: Any) -> None:
    """Write the predictions, then fold.json, with which the fold counts as done."""
    labels = part.run.labels
    for vote, probs in answers.items():
        rows = zip(part.rows["test"], probs.tolist(), strict=True)
        table = [[row, *(f"{p:.8g}" for p in values)] for row, values in rows]
        write_table(part.folder / part.run.predictions_name(vote), ["row", *labels], table)
    prior = _prior(distributions(part.samples("train"), labels))
    about = {"fold": part.rows["name"], "seed": part.seed, "prior": prior}
    write_json(part.folder / "fold.json", about | facts)


def _prior(shares: Any) -> list[float]:
    """Share of each class in (N, C), one clip of each added so that none is zero (Laplace)."""
    counts = 1 + shares.sum(axis=0)
    return list(counts / counts.sum())
