"""A target whose calls fail in the way that its input names."""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from emoscope.core.errors import MediaError
from fuzz.harness import SOURCES, Mutant, Target
from fuzz.mutators import Mutator

__all__ = ["Planted"]

KINDS = ("crash", "exception", "fine", "hang", "memory", "message", "refused", "shorter", "warning")


class Planted(Target):
    """One source a kind of failure."""

    name = "planted"
    mutators: ClassVar[Mapping[str, Mutator]] = {"left as it is": lambda data, rng: data}
    deadline_s = 4.0
    max_bytes = 200 << 20

    def prepare(self) -> None:
        (self.home / SOURCES).mkdir(parents=True)
        for kind in KINDS:
            (self.home / SOURCES / kind).write_text(kind)

    def calls(self, path: Path) -> Mapping[str, Callable[[], Any]]:
        return {"read": path.read_text, "fail": lambda: _fail(path.read_text())}

    def complaints(
        self, mutant: Mutant, results: Mapping[str, Any]
    ) -> Iterator[tuple[str, str, str]]:
        if results.get("fail") == "shorter":
            yield "shorter", "fail", "1 of 2 s"


def _fail(kind: str) -> str:
    if kind == "crash":
        os.abort()
    elif kind == "hang":
        time.sleep(60)
    elif kind == "memory":
        return str(np.ones(25 << 20).sum())
    elif kind == "exception":
        raise ValueError("not one of ours")
    elif kind == "message":
        raise MediaError("two\nlines")
    elif kind == "refused":
        raise MediaError("film.mp4: cut off. Copy it again.")
    elif kind == "warning":
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    return kind
