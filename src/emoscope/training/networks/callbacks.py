"""What happens around the steps: the log, checkpoints that are whole, and news of how far it is."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from emoscope.core.errors import RecipeError
from emoscope.media.files import replacing
from emoscope.training.run_folder import write_table

__all__ = [
    "BEST",
    "LAST",
    "AtomicCheckpoints",
    "Keeper",
    "Progress",
    "Reporter",
    "load_tensors",
    "save_tensors",
]

LAST, BEST = "last.ckpt", "best.ckpt"
_TIMES_THE_COST = 10
_COLUMNS = (
    "epoch",
    "step",
    "seconds",
    "lr",
    "loss",
    "holdout_loss",
    "holdout_accuracy",
    "holdout_uar",
)


@dataclass(frozen=True)
class Progress:
    """How far the training of one part of a run is; NaN where nothing is known yet."""

    epoch: int  # complete ones
    step: int
    steps: int  # in all
    loss: float
    uar: float  # of the hold-out
    seconds_left: float


class Reporter(pl.Callback):
    """Tells `report` about twice a second how far it is, and at every epoch's end."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self.report = report
        self.told_s = 0.0
        self.begun_s, self.begun_step = time.monotonic(), 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begun_s, self.begun_step = time.monotonic(), trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if time.monotonic() - self.told_s > 0.5:
            self._tell(trainer, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._tell(trainer, trainer.current_epoch + 1)

    def _tell(self, trainer: pl.Trainer, epoch: int) -> None:
        self.told_s = time.monotonic()
        step, steps = trainer.global_step, int(trainer.estimated_stepping_batches)
        done = max(step - self.begun_step, 1)
        left_s = (self.told_s - self.begun_s) / done * (steps - step)
        now = trainer.callback_metrics
        loss, uar = (float(now.get(name, torch.nan)) for name in ("loss", "holdout_uar"))
        self.report(Progress(epoch, step, steps, loss, uar, left_s))


class Keeper(Checkpoint):
    """At an epoch's end: best.ckpt where `monitor` rose, last.ckpt, a row of metrics.csv.

    Where epochs are short and weights are many, last.ckpt waits until the training has gone on for
    ten times what writing it takes: a kill costs an epoch, or that long. The log's rows travel in
    the checkpoint: log and weights agree whenever the process was killed. Where that was between
    best.ckpt and last.ckpt, the epoch is repeated and found best again.
    """

    def __init__(self, folder: Path, monitor: str | None) -> None:
        self.folder, self.monitor = folder, monitor
        self.rows: list[list[float | str]] = []
        self.best, self.best_epoch = -1.0, -1
        self.before_s, self.begun_s = 0.0, time.monotonic()
        self.saved_s, self.took_s = -math.inf, 0.0  # when the last one was written, and how long

    @property
    def seconds(self) -> float:
        """Spent on training, over all the sessions it took."""
        return self.before_s + time.monotonic() - self.begun_s

    @property
    def trained_s(self) -> float:
        """The same, up to the last epoch's end."""
        return float(self.rows[-1][_COLUMNS.index("seconds")])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begun_s = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # or Lightning leaves the unfinished epoch unjudged

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch
        row: dict[str, Any] = {name: _shown(metrics[name]) for name in _COLUMNS if name in metrics}
        row |= {
            "epoch": epoch,
            "step": trainer.global_step,
            "seconds": f"{self.seconds:.2f}",
            "lr": _shown(trainer.optimizers[0].param_groups[0]["lr"]),
        }
        self.rows.append([row.get(name, "") for name in _COLUMNS])
        better = self.monitor is not None and metrics.get(self.monitor, -1.0) > self.best
        if better and self.monitor is not None:
            self.best, self.best_epoch = metrics[self.monitor], epoch
        is_last = trainer.should_stop or epoch + 1 == trainer.max_epochs
        if better or is_last or self._is_due(trainer):
            self._save(trainer, better)
        self._write_log(trainer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        """Whether to write now, by the clock of the first process: all of them take part."""
        due = time.monotonic() - self.saved_s >= _TIMES_THE_COST * self.took_s
        return bool(trainer.strategy.broadcast(due))

    def _save(self, trainer: pl.Trainer, better: bool) -> None:
        begun_s = time.monotonic()
        last = self.folder / "checkpoints" / LAST
        best = last.with_name(BEST)
        trainer.save_checkpoint(best if better else last)
        if better and trainer.is_global_zero:
            with replacing(last) as part:
                shutil.copyfile(best, part)
        self.saved_s = time.monotonic()
        self.took_s = self.saved_s - begun_s

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write_log(trainer)  # a killed training may lack the last row, and have no epoch to go

    def _write_log(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            write_table(self.folder / "metrics.csv", _COLUMNS, self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [list(row) for row in state_dict["rows"]]
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.before_s = state_dict["seconds"]


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and are read without unpickling objects."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        save_tensors(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_tensors(Path(path))


def save_tensors(content: Any, path: Path) -> None:
    """Write tensors whole or not at all. Raises MediaError."""
    with replacing(path) as part:
        try:
            with part.open("wb") as file:
                torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # what the file system said, before torch
                raise error.__context__ from None
            raise


def load_tensors(path: Path) -> Any:
    """Read a checkpoint. Raises RecipeError for a damaged one."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises all sorts of things for a damaged file
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise RecipeError(
            f"{path}: a damaged checkpoint ({reason}). Delete {path.parent} and --resume the run: "
            "this part of it is then trained anew."
        ) from None


def _shown(value: float) -> str:
    return f"{value:.6g}"
