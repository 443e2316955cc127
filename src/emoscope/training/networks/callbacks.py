"""Lightning callbacks: metrics.csv, checkpoints and progress."""

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from emoscope.core.errors import RecipeError
from emoscope.media.files import replacing
from emoscope.training.networks.pace import Pace
from emoscope.training.observer import Progress
from emoscope.training.run_folder import write_table

__all__ = [
    "BEST",
    "LAST",
    "AtomicCheckpoints",
    "Keeper",
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


class Reporter(pl.Callback):
    """Call `report` about twice a second, and at the end of every epoch."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self.report = report
        self.reported_s, self.pace = 0.0, Pace()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.pace.epoch_started()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.pace.batch_done()
        if time.monotonic() - self.reported_s > 0.5:
            self._report(trainer, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._report(trainer, trainer.current_epoch + 1)

    def _report(self, trainer: pl.Trainer, epoch: int) -> None:
        self.reported_s = time.monotonic()
        step, steps = trainer.global_step, int(trainer.estimated_stepping_batches)
        batches = (steps - step) * trainer.accumulate_grad_batches
        epochs = math.ceil(batches / max(int(trainer.num_training_batches), 1))
        left_s = self.pace.seconds_left(batches, epochs)
        metrics = trainer.callback_metrics
        loss, uar = (float(metrics.get(name, torch.nan)) for name in ("loss", "holdout_uar"))
        self.report(Progress(epoch, step, steps, loss, uar, left_s))


class Keeper(Checkpoint):
    """Write best.ckpt (if `monitor` has risen), last.ckpt and metrics.csv after an epoch.

    If writing is slow compared with an epoch, last.ckpt is written less often: after ten times the
    time that writing takes. A kill loses at most that time, or one epoch. The rows of metrics.csv
    are stored in the checkpoint, so log and weights always agree. A kill between best.ckpt and
    last.ckpt repeats the epoch, which is again the best.

    check   called before files are written; raises if they must not be
    """

    def __init__(
        self, folder: Path, monitor: str | None, check: Callable[[], None] = lambda: None
    ) -> None:
        self.folder, self.monitor, self.check = folder, monitor, check
        self.rows: list[list[float | str]] = []
        self.best, self.best_epoch = -1.0, -1
        self.before_s, self.start_s = 0.0, time.monotonic()  # before: in interrupted sessions
        self.saved_s, self.save_took_s = -math.inf, 0.0

    @property
    def seconds(self) -> float:
        """Training time, including interrupted sessions."""
        return self.before_s + time.monotonic() - self.start_s

    @property
    def trained_s(self) -> float:
        """Training time up to the end of the last epoch."""
        return float(self.rows[-1][_COLUMNS.index("seconds")])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start_s = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # or Lightning skips the hold-out of the unfinished epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.check()
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
        is_due = time.monotonic() - self.saved_s >= _TIMES_THE_COST * self.save_took_s
        # All processes take part in saving, so the clock of the first one decides.
        if better or is_last or trainer.strategy.broadcast(is_due):
            self._save(trainer, better)
        self._write_log(trainer)

    def _save(self, trainer: pl.Trainer, better: bool) -> None:
        start_s = time.monotonic()
        last = self.folder / "checkpoints" / LAST
        best = last.with_name(BEST)
        trainer.save_checkpoint(best if better else last)
        if better and trainer.is_global_zero:
            with replacing(last) as part:
                shutil.copyfile(best, part)
        self.saved_s = time.monotonic()
        self.save_took_s = self.saved_s - start_s

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
    """Write checkpoints atomically, and read them without unpickling objects."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        save_tensors(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_tensors(Path(path))


def save_tensors(content: Any, path: Path) -> None:
    """Write tensors atomically. Raises MediaError."""
    with replacing(path) as part:
        try:
            with part.open("wb") as file:
                torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # the error behind torch's
                raise error.__context__ from None
            raise


def load_tensors(path: Path) -> Any:
    """Read a checkpoint. Raises RecipeError for a damaged one."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise RecipeError(
            f"{path}: damaged checkpoint ({reason}). Delete {path.parent} and --resume the run: "
            "this fold is then trained from the start."
        ) from None


def _shown(value: float) -> str:
    return f"{value:.6g}"
