"""Progress of long work on standard error: a bar on a terminal, occasional lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["counting"]

_LINE_EVERY_S = 10.0


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with (done, total) after every step."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield _lines(what, console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str, console: Console) -> Callable[[int, int], None]:
    printed_s = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal printed_s
        if time.monotonic() - printed_s >= _LINE_EVERY_S:
            printed_s = time.monotonic()
            console.print(f"{what}: {done:,} of {total:,}")

    return show
