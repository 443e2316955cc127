"""How far a training is: a bar on a terminal, a line now and then elsewhere. On standard error."""

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from emoscope.training.experiment import Observer, is_leader
from emoscope.training.networks.callbacks import Progress

__all__ = ["Console"]

_LINE_EVERY_S = 10.0


class Console(Observer):
    """Loss, hold-out UAR and time left of the whole run; use it in a `with`."""

    def __init__(self) -> None:
        self.console = RichConsole(
            stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False
        )
        self.console.quiet = not is_leader()
        columns = (TextColumn("{task.description}", markup=False), BarColumn())
        self.bars = Bars(*columns, console=self.console, transient=True)
        self.task = self.bars.add_task("", total=1.0)
        self.name, self.index, self.parts = "", 0, 1
        self.told_s, self.begun_s = -math.inf, time.monotonic()
        self.spent_s: list[float] = []  # on each part that this session has finished

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

    def preparing(self, done: int, total: int) -> None:
        self._tell(f"clips prepared: {done:,} of {total:,}", done / max(total, 1), done == total)

    def asking(self, done: int, total: int) -> None:
        if total:
            told = f"frozen features: {done:,} of {total:,} clips"
            self._tell(told, done / total, done == total)

    def began(self, text: str) -> None:
        self.console.print(text)

    def warned(self, text: str) -> None:
        self.console.print(f"Warning: {text}")

    def part(self, index: int, parts: int, fold: str, seed: int) -> None:
        if self.name:
            self.spent_s.append(time.monotonic() - self.begun_s)
        self.begun_s = time.monotonic()
        self.name, self.index, self.parts = f"{fold}, seed {seed}", index, parts
        self._tell(self._where(), index / parts, last=True)

    def progress(self, progress: Progress) -> None:
        share = progress.step / max(progress.steps, 1)
        figures = [f"epoch {progress.epoch}"]
        figures += [f"loss {progress.loss:.3f}"] if math.isfinite(progress.loss) else []
        figures += [f"hold-out UAR {progress.uar:.1%}"] if math.isfinite(progress.uar) else []
        figures.append(f"{_clock(self._seconds_left(progress))} left")
        done = (self.index + share) / self.parts
        self._tell(f"{self._where()}: {', '.join(figures)}", done, last=share == 1)

    def _where(self) -> str:
        return f"{self.index + 1} of {self.parts} ({self.name})"

    def _seconds_left(self, progress: Progress) -> float:
        """Of this part, and of the parts after it at the pace of those before."""
        here = progress.seconds_left
        this_part = time.monotonic() - self.begun_s + here
        each = sum([*self.spent_s, this_part]) / (len(self.spent_s) + 1)
        return here + each * (self.parts - self.index - 1)

    def _tell(self, text: str, done: float, last: bool) -> None:
        self.bars.update(self.task, description=text, completed=done)
        if not self.console.is_terminal and (
            last or time.monotonic() - self.told_s > _LINE_EVERY_S
        ):
            self.told_s = time.monotonic()
            self.console.print(text)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
