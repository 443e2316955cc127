"""Training of one network on Lightning, from samples to weights; it resumes where it was killed."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import lightning as pl
import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from emoscope.analysis.bundle import load_bundle
from emoscope.core.errors import EmoscopeError, RecipeError
from emoscope.models.checkpoints import trunks
from emoscope.training.metrics import accuracy, uar
from emoscope.training.networks.callbacks import (
    BEST,
    LAST,
    AtomicCheckpoints,
    Keeper,
    Progress,
    Reporter,
    load_tensors,
)
from emoscope.training.networks.dataset import ClipDataset, EpochSampler, shrunk
from emoscope.training.networks.distillation import softened
from emoscope.training.networks.schedule import create_optimiser, lr_factor, side_part
from emoscope.training.recipe import Recipe, Schedule

__all__ = ["Classifier", "Fitted", "Hardware", "fit_network"]

Batch = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Hardware:
    """What to train on, in Lightning's words; no part of the recipe. `workers` load clips."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    workers: int = 0
    tensorboard: bool = False

    @property
    def device(self) -> str:
        """Where clips are judged."""
        return "cuda" if self.accelerator != "cpu" and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Fitted:
    """How a training went; `chosen_epoch` counts from 0."""

    seconds: float
    epochs: int
    chosen_epoch: int
    is_first_process: bool


class Classifier(pl.LightningModule):
    """A network, cross-entropy against label distributions, and its schedule."""

    def __init__(self, model: nn.Module, recipe: Recipe, seed: int) -> None:
        super().__init__()
        self.model = model
        for weights in model.parameters():
            if weights.dim() == 4:  # faster in bf16; `Module.to` would refuse kernels in time
                weights.data = weights.data.contiguous(memory_format=torch.channels_last)
        self.recipe, self.seed = recipe, seed
        self.teacher = load_bundle(recipe.teacher.bundle) if recipe.teacher else None
        self._seen: list[tuple[Tensor, Tensor]] = []
        self.train()

    def train(self, mode: bool = True) -> Self:
        """What is frozen stays as it is: its statistics and its dropout rest."""
        super().train(mode)
        if self.recipe.model.frozen:
            for trunk in trunks(self.model).values():
                trunk.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen, which can be most of it: the file of the weights has it."""
        if not _schedule(self.recipe).ema_decay:
            for name in self._frozen():
                del checkpoint["state_dict"][name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put it back."""
        checkpoint["state_dict"] = self._frozen() | checkpoint["state_dict"]

    def _frozen(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.named_parameters() if not p.requires_grad}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch. Raises RecipeError where it is not a number."""
        # Dropout draws by its place in the training, so that a resumed one draws the same.
        place = np.random.SeedSequence((self.seed, self.current_epoch, index, self.global_rank))
        torch.manual_seed(int(place.generate_state(1)[0]))
        inputs, target = batch
        if self.teacher and self.recipe.teacher:
            target = softened(self.teacher, self.recipe.teacher.share, inputs, target)
        steps = int(self.trainer.estimated_stepping_batches)
        part = side_part(_schedule(self.recipe), self.trainer.global_step, steps)
        loss = F.cross_entropy(self.model(**shrunk(inputs, part)), target)
        if not torch.isfinite(loss):
            raise RecipeError(
                f"{self.recipe.name}: the loss is {loss.item()} in epoch {self.current_epoch}, "
                f"step {self.global_step}. Lower optimiser.lr or use precision = '32-true'."
            )
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Collect the hold-out's answers."""
        inputs, target = batch
        self._seen.append((self.model(**inputs).float().cpu(), target.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log the hold-out's accuracy, UAR and loss. Every process sees all of it."""
        logits, target = (torch.cat(part) for part in zip(*self._seen, strict=True))
        self._seen.clear()
        truth, said = target.argmax(1).numpy(), logits.argmax(1).numpy()
        self.log("holdout_accuracy", accuracy(truth, said))
        self.log("holdout_uar", uar(truth, said))
        self.log("holdout_loss", F.cross_entropy(logits, target))

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser, its rate set at every step."""
        schedule, total = _schedule(self.recipe), int(self.trainer.estimated_stepping_batches)
        assert self.recipe.optimiser is not None
        optimiser = create_optimiser(self.recipe.optimiser, self)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: lr_factor(schedule, step, total)
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class _Clips(pl.LightningDataModule):
    """Loaders made when the processes know each other: each learns from its share, all of them
    judge by the whole hold-out."""

    def __init__(
        self, recipe: Recipe, seed: int, train: ClipDataset, holdout: ClipDataset, workers: int
    ) -> None:
        super().__init__()
        self.recipe, self.seed, self.workers = recipe, seed, workers
        self.train_part, self.holdout = train, holdout

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        sampler = EpochSampler(len(self.train_part), self.seed, rank, world)
        if len(sampler) < 2:
            raise RecipeError(
                f"{self.recipe.name}: {len(self.train_part)} clips are too few to learn from in "
                f"batches of at least two, in each of {world} processes."
            )
        size = min(_schedule(self.recipe).batch_size, len(sampler))
        return self._loader(self.train_part, size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.holdout, min(256, _schedule(self.recipe).batch_size))

    def _loader(self, data: ClipDataset, batch_size: int, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            data,
            batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=_one_thread,
            **options,
        )


def fit_network(
    model: nn.Module,
    recipe: Recipe,
    seed: int,
    train: ClipDataset,
    holdout: ClipDataset,
    folder: Path,
    hardware: Hardware = Hardware(),
    report: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Train `model` in place; it ends with the weights that the recipe keeps.

    Goes on from `folder`/checkpoints/last.ckpt where that is there, and ends as an uninterrupted
    training would have. An empty hold-out is none. Raises RecipeError for a loss that is not a
    number, or for hardware that is not there.
    """
    schedule = _schedule(recipe)
    monitor = None if schedule.keep == "last" else f"holdout_{schedule.keep.partition('-')[2]}"
    keeper = Keeper(folder, monitor)
    callbacks: list[pl.Callback] = [keeper]
    if report is not None:
        callbacks.append(Reporter(report))
    if schedule.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=schedule.ema_decay))
    last = folder / "checkpoints" / LAST
    with _quiet():
        trainer = _trainer(schedule, folder, hardware, callbacks, judged=len(holdout) > 0)
        clips = _Clips(recipe, seed, train, holdout, hardware.workers)
        _fit(trainer, Classifier(model, recipe, seed), clips, last if last.is_file() else None)
    trainer.strategy.barrier()
    kept = load_tensors(last if monitor is None else last.with_name(BEST))
    own = {k.removeprefix("model."): v for k, v in kept["state_dict"].items()}
    model.load_state_dict(model.state_dict() | own)
    epochs = len(keeper.rows)
    chosen = epochs - 1 if monitor is None else keeper.best_epoch
    return Fitted(keeper.trained_s, epochs, chosen, trainer.is_global_zero)


def _trainer(
    schedule: Schedule,
    folder: Path,
    hardware: Hardware,
    callbacks: list[pl.Callback],
    *,
    judged: bool,
) -> pl.Trainer:
    try:
        trainer = pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            strategy=hardware.strategy,
            precision=schedule.precision,
            max_epochs=-1 if schedule.epochs is None else schedule.epochs,
            max_steps=-1 if schedule.iterations is None else schedule.iterations,
            accumulate_grad_batches=schedule.accumulate,
            limit_val_batches=1.0 if judged else 0,
            callbacks=callbacks,
            plugins=[AtomicCheckpoints()],
            logger=TensorBoardLogger(folder, name="", version="tensorboard")
            if hardware.tensorboard
            else False,
            default_root_dir=folder,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=10,
        )
    except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise RecipeError(f"This machine cannot train so: {reason}.") from None
    if schedule.precision == "16-mixed" and isinstance(trainer.accelerator, CPUAccelerator):
        raise RecipeError("A CPU cannot train in 16-mixed: set schedule.precision = 'bf16-mixed'.")
    return trainer


def _fit(trainer: pl.Trainer, module: Classifier, clips: _Clips, before: Path | None) -> None:
    try:
        trainer.fit(module, datamodule=clips, ckpt_path=before, weights_only=True)
    except SystemExit:
        if trainer.interrupted:  # Lightning turns Ctrl-C into an exit of its own
            raise KeyboardInterrupt from None
        raise
    except EmoscopeError as error:
        told = str(error).strip().splitlines()
        if len(told) == 1:
            raise
        # A loading process sends its whole traceback as the message.
        raise type(error)(told[-1].rpartition(f".{type(error).__name__}: ")[2]) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice and its news of accelerators that are not there."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Lightning's use of torch, not ours
            warnings.simplefilter("ignore", PossibleUserWarning)  # advice to programmers
            # Lightning would take another precision than was asked for; we refuse.
            warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)


def _schedule(recipe: Recipe) -> Schedule:
    assert recipe.schedule is not None  # networks.is_estimator has asked for it
    return recipe.schedule
