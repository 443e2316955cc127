"""Training on Lightning: a recipe and a corpus folder become a run folder with weights in it.

A run folder holds recipe.json, log/metrics.csv, weights.pt (the chosen epoch's), and summary.json.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as pl
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from emoscope import models
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Manifest, Sample, digests, read_corpus
from emoscope.corpora.stills import drop_twins
from emoscope.media.files import replacing
from emoscope.training.dataset import StillDataset, distributions, split_by_content
from emoscope.training.metrics import accuracy, uar
from emoscope.training.recipe import Recipe

__all__ = ["Classifier", "create_model", "predict_logits", "read_without_twins", "train"]

Batch = tuple[dict[str, Tensor], Tensor]
FloatArray = npt.NDArray[np.floating]


class Classifier(pl.LightningModule):
    """A network, cross-entropy against label distributions, and its schedule."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps_per_epoch: int) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster in bf16
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self._seen: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        """Have the augmentation draw anew."""
        self.trainer.train_dataloader.dataset.epoch = self.current_epoch  # type: ignore[union-attr]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch."""
        inputs, target = batch
        loss = F.cross_entropy(self.model(**inputs), target)
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Collect the hold-out's answers."""
        inputs, target = batch
        self._seen.append((self.model(**inputs).float().cpu(), target.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log the hold-out's accuracy, UAR and loss."""
        logits, target = (torch.cat(part) for part in zip(*self._seen, strict=True))
        self._seen.clear()
        truth, said = target.argmax(1).numpy(), logits.argmax(1).numpy()
        self.log("holdout_accuracy", accuracy(truth, said), prog_bar=True)
        self.log("holdout_uar", uar(truth, said), prog_bar=True)
        self.log("holdout_loss", F.cross_entropy(logits, target))

    def configure_optimizers(self) -> Any:
        """Weight decay on matrices only; linear warm-up, then cosine to zero, by step."""
        wanted, schedule = self.recipe.optimiser, self.recipe.schedule
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters() if p.ndim > 1]},
            {"params": [p for p in self.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimiser: torch.optim.Optimizer
        if wanted.name == "sgd":
            optimiser = torch.optim.SGD(
                groups,
                lr=wanted.lr,
                momentum=wanted.momentum,
                weight_decay=wanted.weight_decay,
                nesterov=wanted.momentum > 0,
            )
        else:
            optimiser = torch.optim.AdamW(groups, lr=wanted.lr, weight_decay=wanted.weight_decay)
        total = schedule.epochs * self.steps_per_epoch
        warmup = schedule.warmup_epochs * self.steps_per_epoch

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return float(0.5 * (1 + np.cos(np.pi * (step - warmup) / max(total - warmup, 1))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def create_model(recipe: Recipe, num_classes: int) -> nn.Module:
    """The recipe's network. Raises UnknownName, or RecipeError for options it does not take."""
    options = recipe.model.options
    try:
        return models.create(recipe.model.name, num_classes=num_classes, **options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{recipe.name}: model.options do not fit: {error}.") from None


def read_without_twins(name: str, root: Path) -> tuple[Manifest, dict[Path, str]]:
    """A corpus without training pictures whose bytes also occur outside the training part, and
    the digest of every picture."""
    corpus = read_corpus(name, root)
    content = digests(corpus.samples)
    others = corpus.split("valid") + corpus.split("test")
    train, twins = drop_twins(corpus.split("train"), others, content)
    rest = tuple(sample for sample in corpus.samples if sample.split != "train")
    left_out = {**corpus.left_out, "train: twins of valid or test": twins}
    return Manifest(corpus.corpus, corpus.labels, train + rest, left_out), content


def train(recipe: Recipe, corpus_dir: Path, run_dir: Path) -> dict[str, Any]:
    """Carry out a recipe. Returns (and writes) the summary; the weights are in `run_dir`."""
    pl.seed_everything(recipe.seed, verbose=False)
    corpus, content = read_without_twins(recipe.corpus.name, corpus_dir)
    model = create_model(recipe, len(corpus.labels))
    fit_on, holdout = split_by_content(
        corpus.split("train"), recipe.corpus.holdout, recipe.seed, content
    )
    loader, choose_by = _loaders(recipe, model, corpus.labels, fit_on, holdout)
    with replacing(run_dir / "recipe.json") as part:
        part.write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")

    module = Classifier(model, recipe, len(loader))
    chosen = _fit(module, loader, choose_by, recipe, run_dir)
    with replacing(run_dir / "weights.pt") as part:
        torch.save(module.model.state_dict(), part)
    summary = {
        "labels": corpus.labels,
        "prior": _prior(distributions(fit_on, corpus.labels)),
        "pictures": {"fitted": len(fit_on), "holdout": len(holdout)},
        "left_out": corpus.left_out,
        "holdout_digests": sorted({content[still.path] for still in holdout}),
        **chosen,
    }
    with replacing(run_dir / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _prior(shares: FloatArray) -> list[float]:
    """Share of each class in (N, C), one picture of each added so that none is zero (Laplace)."""
    counts = 1 + shares.sum(axis=0)
    return list(counts / counts.sum())


def _loaders(
    recipe: Recipe,
    model: nn.Module,
    labels: Sequence[str],
    fit_on: Sequence[Sample],
    holdout: Sequence[Sample],
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches to learn from, and the hold-out's pictures that have one label to choose by."""
    spec: ClipSpec = model.clip_spec  # type: ignore[assignment]
    size = recipe.schedule.batch_size
    clear = [still for still in holdout if still.is_clear]
    if len(fit_on) < size or not clear:
        raise RecipeError(
            f"{recipe.name}: {len(fit_on)} pictures to learn from and {len(clear)} to choose by; "
            f"a batch takes {size}. Lower schedule.batch_size or change corpus.holdout."
        )
    augmented = StillDataset(fit_on, labels, spec, recipe.augmentation, recipe.seed)
    return (
        DataLoader(augmented, batch_size=size, shuffle=True, drop_last=True),
        DataLoader(StillDataset(clear, labels, spec), batch_size=256),
    )


def _fit(
    module: Classifier,
    loader: DataLoader[Any],
    choose_by: DataLoader[Any],
    recipe: Recipe,
    run_dir: Path,
) -> dict[str, Any]:
    """Train, and leave in `module` the weights of the epoch that did best on the hold-out."""
    keeper = ModelCheckpoint(
        run_dir / "checkpoints", monitor="holdout_accuracy", mode="max", save_last=True
    )
    callbacks: list[pl.Callback] = [keeper, TQDMProgressBar(refresh_rate=10)]
    if recipe.schedule.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=recipe.schedule.ema_decay))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Lightning's use of torch, not ours
        warnings.simplefilter("ignore", PossibleUserWarning)  # advice to programmers
        trainer = pl.Trainer(
            max_epochs=recipe.schedule.epochs,
            precision=recipe.schedule.precision,
            callbacks=callbacks,
            logger=CSVLogger(run_dir, name="log", version=""),
            default_root_dir=run_dir,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, loader, choose_by)
    kept = torch.load(keeper.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(kept["state_dict"])
    return {
        "chosen_epoch": int(kept["epoch"]),
        "holdout_accuracy": float(keeper.best_model_score or float("nan")),
    }


@torch.inference_mode()
def predict_logits(model: nn.Module, stills: Sequence[Sample], labels: Sequence[str]) -> np.ndarray:
    """(N, C) float32 logits of pictures as they are."""
    data = StillDataset(stills, labels, model.clip_spec)  # type: ignore[arg-type]
    model.eval()
    return np.concatenate(
        [model(**inputs).float().numpy() for inputs, _ in DataLoader(data, batch_size=256)]
    )
