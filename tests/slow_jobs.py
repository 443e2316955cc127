"""Jobs for processes of their own, which import them by name: `from slow_jobs import squared`."""

import os
import time
from pathlib import Path

from emoscope.core.errors import MediaError
from emoscope.media.files import replacing


def squared(number: int) -> int:
    """The square; 13 kills its process, and 99 is refused."""
    if number == 13:
        os._exit(7)
    if number == 99:
        raise MediaError("99: no such number.")
    return number * number


def half_written(target: Path) -> None:
    """Begins to write and does not come to an end; "quick" returns as soon as another has begun."""
    while target.name == "quick":
        if list(target.parent.glob(".emoscope-*")):
            return
        time.sleep(0.01)
    with replacing(target) as part:
        part.write_text("half")
        time.sleep(60)


def process_of(folder: Path) -> int:
    """Which process did it; each waits in the folder until another one does the same."""
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 30
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.getpid()
