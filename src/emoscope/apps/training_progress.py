"""Progress of a training on standard error: a bar on a terminal, plain lines otherwise."""

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from emoscope.training.experiment import is_leader
from emoscope.training.observer import Observer, Progress

__all__ = ["Console"]

_LINE_EVERY_S = 10.0


class Console(Observer):
    """Show loss, hold-out UAR and the time left for the whole run; use it in a `with` block."""

    def __init__(self) -> None:
        self.console = RichConsole(
            stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False
        )
        self.console.quiet = not is_leader()
        columns = (TextColumn("{task.description}", markup=False), BarColumn())
        self.bars = Bars(*columns, console=self.console, transient=True)
        self.task = self.bars.add_task("", total=1.0)
        self.name, self.index, self.total = "", 0, 1
        self.printed_s, self.start_s = -math.inf, time.monotonic()
        self.spent_s: list[float] = []  # on each fold that this session has finished

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self.console.quiet:
            self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.bars.live.is_started:  # else it prints an empty line
            self.bars.stop()

    def clips_cut(self, done: int, total: int) -> None:
        self._show(f"clips prepared: {done:,} of {total:,}", done / max(total, 1), done == total)

    def features_computed(self, done: int, total: int) -> None:
        self._show(f"frozen features: {done:,} of {total:,} clips", done / total, done == total)
        self.start_s = time.monotonic()  # they are computed once, for all folds

    def note(self, text: str) -> None:
        self.console.print(text)

    def warning(self, text: str) -> None:
        self.console.print(f"Warning: {text}")

    def fold_started(self, index: int, total: int, fold: str, seed: int) -> None:
        if self.name:
            self.spent_s.append(time.monotonic() - self.start_s)
        self.start_s = time.monotonic()
        self.name, self.index, self.total = f"{fold}, seed {seed}", index, total
        self._show(self._current_fold(), index / total, last=True)

    def progress(self, progress: Progress) -> None:
        share = progress.step / max(progress.steps, 1)
        figures = [f"epoch {progress.epoch}"]
        figures += [f"loss {progress.loss:.3f}"] if math.isfinite(progress.loss) else []
        figures += [f"hold-out UAR {progress.uar:.1%}"] if math.isfinite(progress.uar) else []
        left_s = self._seconds_left(progress)
        figures.append(
            f"{_clock(left_s)} left" if math.isfinite(left_s) else "estimating time left"
        )
        done = (self.index + share) / self.total
        self._show(f"{self._current_fold()}: {', '.join(figures)}", done, last=share == 1)

    def _current_fold(self) -> str:
        return f"{self.index + 1} of {self.total} ({self.name})"

    def _seconds_left(self, progress: Progress) -> float:
        """The time left for this fold, and for the next ones at the mean time per fold.

        Before this fold has an estimate it is taken to last as long as the others; NaN if it is the
        first one."""
        elapsed_s, left_s = time.monotonic() - self.start_s, progress.seconds_left
        known_s = [*self.spent_s, *([elapsed_s + left_s] if math.isfinite(left_s) else [])]
        if not known_s:
            return math.nan
        per_fold_s = sum(known_s) / len(known_s)
        if math.isnan(left_s):
            left_s = max(per_fold_s - elapsed_s, 0.0)
        return left_s + per_fold_s * (self.total - self.index - 1)

    def _show(self, text: str, done: float, last: bool) -> None:
        self.bars.update(self.task, description=text, completed=done)
        if not self.console.is_terminal and (
            last or time.monotonic() - self.printed_s > _LINE_EVERY_S
        ):
            self.printed_s = time.monotonic()
            self.console.print(text)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
