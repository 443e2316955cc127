"""The training loop of one network, on Lightning; an interrupted training resumes."""

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
    Reporter,
    load_tensors,
)
from emoscope.training.networks.dataset import ClipDataset, EpochSampler, shrunk
from emoscope.training.networks.distillation import soft_targets
from emoscope.training.networks.schedule import create_optimiser, lr_factor, picture_scale
from emoscope.training.observer import Progress
from emoscope.training.recipe import Optimiser, Recipe, Schedule, TeacherChoice

__all__ = ["Classifier", "FitSettings", "Fitted", "Hardware", "fit_network"]

Batch = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Hardware:
    """The machine to train on, in Lightning's terms; not part of the recipe.

    workers      processes that load clips; 0 loads them in the training process
    tensorboard  write logs for TensorBoard
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    workers: int = 0
    tensorboard: bool = False

    @property
    def device(self) -> str:
        """The torch device that predicts the test side."""
        return "cuda" if self.accelerator != "cpu" and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class FitSettings:
    """The parts of a network's recipe that the training loop uses."""

    name: str
    optimiser: Optimiser
    schedule: Schedule
    teacher: TeacherChoice | None = None
    frozen: bool = False

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        """Raises RecipeError for a recipe without optimiser and schedule."""
        if recipe.optimiser is None or recipe.schedule is None:
            raise RecipeError(
                f"{recipe.name}: a network needs the tables optimiser and schedule. Add them."
            )
        return cls(
            recipe.name, recipe.optimiser, recipe.schedule, recipe.teacher, recipe.model.frozen
        )


@dataclass(frozen=True)
class Fitted:
    """The result of a training; `chosen_epoch` counts from 0."""

    seconds: float
    epochs: int
    chosen_epoch: int
    is_first_process: bool


class Classifier(pl.LightningModule):
    """A network, cross-entropy against label distributions, and its schedule."""

    def __init__(self, model: nn.Module, settings: FitSettings, seed: int) -> None:
        super().__init__()
        self.model = model
        for weights in model.parameters():
            if weights.dim() == 4:  # faster in bf16; `Module.to` would refuse 5-D kernels
                weights.data = weights.data.contiguous(memory_format=torch.channels_last)
        self.settings, self.seed = settings, seed
        self.teacher = load_bundle(settings.teacher.bundle) if settings.teacher else None
        self._holdout: list[tuple[Tensor, Tensor]] = []
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen parts stay in eval mode."""
        super().train(mode)
        if self.settings.frozen:
            for trunk in trunks(self.model).values():
                trunk.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen weights out of the checkpoint: the file of published weights has them."""
        if not self.settings.schedule.ema_decay:
            for name in self._frozen():
                del checkpoint["state_dict"][name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the frozen weights to the checkpoint again."""
        checkpoint["state_dict"] = self._frozen() | checkpoint["state_dict"]

    def _frozen(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.named_parameters() if not p.requires_grad}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch. Raises RecipeError for a loss that is not finite."""
        settings = self.settings
        # The seed of dropout is a function of the step, so that a resumed training draws the same.
        place = np.random.SeedSequence((self.seed, self.current_epoch, index, self.global_rank))
        torch.manual_seed(int(place.generate_state(1)[0]))
        inputs, target = batch
        if self.teacher and settings.teacher:
            target = soft_targets(self.teacher, settings.teacher.share, inputs, target)
        steps = int(self.trainer.estimated_stepping_batches)
        scale = picture_scale(settings.schedule, self.trainer.global_step, steps)
        loss = F.cross_entropy(self.model(**shrunk(inputs, scale)), target)
        if not torch.isfinite(loss):
            raise RecipeError(
                f"{settings.name}: the loss is {loss.item()} in epoch {self.current_epoch}, "
                f"step {self.global_step}. Lower optimiser.lr or use precision = '32-true'."
            )
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Collect the logits of the hold-out."""
        inputs, target = batch
        self._holdout.append((self.model(**inputs).float().cpu(), target.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log accuracy, UAR and loss on the hold-out, which every process sees whole."""
        logits, target = (torch.cat(part) for part in zip(*self._holdout, strict=True))
        self._holdout.clear()
        truth, predicted = target.argmax(1).numpy(), logits.argmax(1).numpy()
        self.log("holdout_accuracy", accuracy(truth, predicted))
        self.log("holdout_uar", uar(truth, predicted))
        self.log("holdout_loss", F.cross_entropy(logits, target))

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser, with a learning rate per step."""
        schedule, total = self.settings.schedule, int(self.trainer.estimated_stepping_batches)
        optimiser = create_optimiser(self.settings.optimiser, self)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: lr_factor(schedule, step, total)
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class _Clips(pl.LightningDataModule):
    """The loaders of one process: its share of the training clips, and the whole hold-out."""

    def __init__(
        self,
        settings: FitSettings,
        seed: int,
        train: ClipDataset,
        holdout: ClipDataset,
        workers: int,
    ) -> None:
        super().__init__()
        self.settings, self.seed, self.workers = settings, seed, workers
        self.train_clips, self.holdout = train, holdout

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None  # set by Lightning
        rank, world = self.trainer.global_rank, self.trainer.world_size
        sampler = EpochSampler(len(self.train_clips), self.seed, rank, world)
        if len(sampler) < 2:
            raise RecipeError(
                f"{self.settings.name}: {len(self.train_clips)} training clips are too few for "
                f"batches of two or more in each of {world} processes. Add clips."
            )
        size = min(self.settings.schedule.batch_size, len(sampler))
        return self._loader(self.train_clips, size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.holdout, min(256, self.settings.schedule.batch_size))

    def _loader(self, clips: ClipDataset, batch_size: int, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            clips,
            batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=_use_one_thread,
            **options,
        )


def _use_one_thread(_: int) -> None:  # of a loading process; a lambda could not be pickled
    cv2.setNumThreads(0)


def fit_network(
    model: nn.Module,
    settings: FitSettings,
    seed: int,
    train: ClipDataset,
    holdout: ClipDataset,
    folder: Path,
    hardware: Hardware = Hardware(),
    report: Callable[[Progress], None] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Fitted:
    """Train `model` in place; it ends with the weights that the recipe keeps.

    Resumes from `folder`/checkpoints/last.ckpt if that exists; the result is the same as without
    the interruption. An empty hold-out is allowed. `check` is called before an epoch is saved.
    Raises RecipeError for a loss that is not finite or unavailable hardware.
    """
    schedule = settings.schedule
    monitor = None if schedule.keep == "last" else f"holdout_{schedule.keep.partition('-')[2]}"
    keeper = Keeper(folder, monitor, check)
    callbacks: list[pl.Callback] = [keeper]
    if report is not None:
        callbacks.append(Reporter(report))
    if schedule.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=schedule.ema_decay))
    last = folder / "checkpoints" / LAST
    with _quiet():
        trainer = _trainer(schedule, folder, hardware, callbacks, has_holdout=len(holdout) > 0)
        clips = _Clips(settings, seed, train, holdout, hardware.workers)
        _fit(trainer, Classifier(model, settings, seed), clips, last if last.is_file() else None)
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
    has_holdout: bool,
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
            limit_val_batches=1.0 if has_holdout else 0,
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
        raise RecipeError(f"This machine cannot train with these settings: {reason}.") from None
    if schedule.precision == "16-mixed" and isinstance(trainer.accelerator, CPUAccelerator):
        raise RecipeError("A CPU cannot train in 16-mixed: set schedule.precision = 'bf16-mixed'.")
    return trainer


def _fit(trainer: pl.Trainer, module: Classifier, clips: _Clips, checkpoint: Path | None) -> None:
    try:
        trainer.fit(module, datamodule=clips, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        if trainer.interrupted:  # Lightning turns Ctrl-C into an exit of its own
            raise KeyboardInterrupt from None
        raise
    except EmoscopeError as error:
        lines = str(error).strip().splitlines()
        if len(lines) == 1:
            raise
        # A loading process sends its whole traceback as the message.
        raise type(error)(lines[-1].rpartition(f".{type(error).__name__}: ")[2]) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice and its reports of available accelerators."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Lightning's use of torch, not ours
            warnings.simplefilter("ignore", PossibleUserWarning)  # advice for developers
            # Lightning would silently use another precision; `_trainer` refuses instead.
            warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
