"""Damaged inputs through the calls that users make, in processes that may die.

A `Target` is one kind of input. A case is a number: it decides the source, the damage and with them
the mutant, so that a failure can be repeated from its number alone.
"""

import faulthandler
import multiprocessing
import os
import re
import resource
import shutil
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from emoscope.core.errors import EmoscopeError
from fuzz.mutators import Mutator

__all__ = ["Case", "Failure", "Mutant", "Target", "Worker", "make_mutant", "run_cases"]

SOURCES = "sources"  # the folder of well-formed inputs in a target's home
_MAX_DATA_BYTES = 4 << 30  # a safety net: beyond it, allocating fails
_FEW = 10  # tries to find damage that changes something
_CASES_A_PROCESS = 500  # so that slow growth is not taken for one case's fault
_OUTPUT, _MUTANT = "output.txt", "mutant"


@dataclass(frozen=True)
class Mutant:
    """A damaged copy of a source."""

    path: Path
    source: Path
    damage: str


@dataclass(frozen=True)
class Case:
    """A target's name and a number."""

    target: str
    number: int

    def __str__(self) -> str:
        return f"{self.target}:{self.number}"


@dataclass(frozen=True)
class Failure:
    """A fault that a case has shown.

    kind    crash, hang, memory, exception, message, or one of the target's own
    """

    case: Case
    kind: str
    call: str
    detail: str
    source: str
    damage: str

    @property
    def signature(self) -> tuple[str, str, str]:
        """Equal for cases that likely share a cause: the same line, or the same source."""
        if self.kind == "exception":
            return self.kind, self.call, re.sub(r"\d+", "N", self.detail)
        return self.kind, self.call, self.source

    def __str__(self) -> str:
        return (
            f"{self.kind} in {self.call}: {self.detail}\n"
            f"    {self.source}, {self.damage}\n"
            f"    repeat with: make fuzz CASE={self.case}"
        )


class Target(ABC):
    """One kind of input: its sources, its damage, what is called, and what counts as failure.

    Whatever the target, these are failures: the process dies (crash), a case takes longer than
    `deadline_s` (hang), resident memory exceeds `max_bytes` (memory), a call raises anything but an
    EmoscopeError, warnings included (exception), or an error of more than one line (message).
    """

    name: str
    mutators: ClassVar[Mapping[str, Mutator]]
    deadline_s = 30.0
    max_bytes = 1 << 30
    expected: frozenset[str] = frozenset()  # kinds that are reported and do not fail the run
    cases_in_ci = 100

    def __init__(self, home: Path) -> None:
        self.home = home

    @abstractmethod
    def prepare(self) -> None:
        """Write well-formed inputs, one an entry, into `sources` in the home folder, and whatever
        else the calls need beside it."""

    @abstractmethod
    def calls(self, path: Path) -> Mapping[str, Callable[[], Any]]:
        """The calls that users make with an input. Their results go to `complaints`."""

    def complaints(
        self, mutant: Mutant, results: Mapping[str, Any]
    ) -> Iterable[tuple[str, str, str]]:
        """Further failures, as (kind, call, detail). A call that raised an EmoscopeError has it as
        its result; one that failed has none."""
        return ()

    @cached_property
    def sources(self) -> list[Path]:
        return sorted((self.home / SOURCES).iterdir())


def make_mutant(target: Target, number: int, folder: Path) -> Mutant:
    """Damage the source that a case number decides: the same bytes for the same number."""
    rng = Random(f"{target.name}:{number}")
    source = target.sources[number % len(target.sources)]
    path = folder / source.name
    if source.is_file():
        return Mutant(path, source, _damage_file(source, path, target.mutators, rng))
    shutil.copytree(source, path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    damages = []
    for file in rng.sample(files, min(len(files), rng.choice((1, 1, 2, 4)))):
        if rng.random() < 0.1:
            file.unlink()
            damages.append(f"{file.name} removed")
        else:
            damages.append(f"{file.name} {_damage_file(file, file, target.mutators, rng)}")
    return Mutant(path, source, "; ".join(damages))


def _damage_file(source: Path, path: Path, mutators: Mapping[str, Mutator], rng: Random) -> str:
    original = data = source.read_bytes()
    names: list[str] = []
    for _ in range(_FEW):
        names, data = [], original
        for name in rng.choices(list(mutators), k=rng.choice((1, 1, 1, 2))):
            if data:
                names.append(name)
                data = mutators[name](data, rng)
        if data != original:
            break
    path.write_bytes(data)
    return f"{' and '.join(names)} ({len(original)} to {len(data)} bytes)"


class Worker:
    """A process that runs one case after another; replaced when it dies, hangs or has grown."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target, self._folder = target, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mutant_folder = folder / _MUTANT
        self._process: Any = None
        self._pipe: Connection
        self._served = 0

    def run(self, number: int) -> list[Failure]:
        """The failures of one case; its mutant stays in `mutant_folder` until the next one."""
        if self._served == _CASES_A_PROCESS:
            self.close()
        if self._process is None:
            self._start()
        self._served += 1
        self._pipe.send(number)
        mutant, call = ("?", "?"), "making the mutant"
        failures = []
        case = Case(self._target.name, number)
        while True:
            try:
                # The deadline is for a call: a case has a handful of them.
                if not self._pipe.poll(self._target.deadline_s):
                    kind, detail = "hang", f"more than {self._target.deadline_s:g} s"
                    break
                topic, message = self._pipe.recv()
            except (EOFError, ConnectionError):
                self._process.join()
                if self._process.exitcode == 1:  # an exception outside the calls
                    raise RuntimeError(f"{case}: {self._output()}") from None
                kind, detail = "crash", f"the process ended with {self._process.exitcode}"
                break
            if topic == "mutant":
                mutant = message
            elif topic == "call":
                call = message
            elif topic == "failure":
                failures.append(Failure(case, *message, *mutant))
            else:  # done, and whether the process has grown too large to go on
                if message:
                    self.close()
                return failures
        self.close()
        detail += self._where()
        return [*failures, Failure(case, kind, call, detail, *mutant)]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None
            self._served = 0

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        parts = type(self._target), self._target.home, theirs, self._folder
        process = context.Process(target=_serve, args=parts, daemon=True)
        process.start()
        self._process = process
        theirs.close()
        self._pipe.recv()  # it is ready: its imports do not count against the first case

    def _where(self) -> str:
        """The innermost lines of the dead process's Python stack."""
        lines = [line for line in self._output().splitlines() if line.startswith("  File")]
        return "".join(f"; {line.strip()}" for line in lines[:3])

    def _output(self) -> str:
        return (self._folder / _OUTPUT).read_text(errors="replace")


def _serve(kind: type[Target], home: Path, pipe: Connection, folder: Path) -> None:
    """Run the cases that arrive."""
    target = kind(home)
    resource.setrlimit(resource.RLIMIT_DATA, (_MAX_DATA_BYTES, _MAX_DATA_BYTES))
    place = folder / _MUTANT
    with (folder / _OUTPUT).open("a+b") as output, warnings.catch_warnings():
        warnings.simplefilter("error")
        for stream in (1, 2):  # what decoders print, and the stack of a crash
            os.dup2(output.fileno(), stream)
        faulthandler.enable(2)
        pipe.send("ready")
        while True:
            try:
                number = pipe.recv()
            except EOFError:
                return
            output.truncate(0)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            mutant = make_mutant(target, number, place)
            pipe.send(("mutant", (mutant.source.name, mutant.damage)))
            results: dict[str, Any] = {}
            grown = False
            for call, function in target.calls(mutant.path).items():
                pipe.send(("call", call))
                faulthandler.dump_traceback_later(target.deadline_s - 1, file=2)
                failure = _try(call, function, results)
                faulthandler.cancel_dump_traceback_later()
                if failure is not None:
                    pipe.send(("failure", failure))
                if not grown and (peak := _peak_bytes()) > target.max_bytes:
                    grown = True
                    pipe.send(("failure", ("memory", call, f"{peak / 2**30:.1f} GB")))
            for complaint in target.complaints(mutant, results):
                pipe.send(("failure", complaint))
            pipe.send(("done", grown))


def _try(
    call: str, function: Callable[[], Any], results: dict[str, Any]
) -> tuple[str, str, str] | None:
    """Keep what a call returns; its failure, if it is one."""
    try:
        results[call] = function()
    except EmoscopeError as error:
        results[call] = error
        if "\n" in str(error).strip() or not str(error):
            return "message", call, repr(str(error))
    except MemoryError:
        return "memory", call, f"allocating beyond {_MAX_DATA_BYTES >> 30} GB failed"
    except Exception as error:
        return "exception", call, _described(error)
    return None


def _described(error: Exception) -> str:
    """An exception with the innermost line of ours that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "emoscope" in frame.filename] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__} at {place}: {lines[0][:160]}"


def _peak_bytes() -> int:
    """The most memory that was resident at a time. (`ru_maxrss` is inherited from the parent.)"""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


def run_cases(target: Target, numbers: Iterable[int], folder: Path) -> Iterator[list[Failure]]:
    """The failures of one case after another, each in a list that is empty where all is well."""
    worker = Worker(target, folder)
    try:
        for number in numbers:
            yield worker.run(number)
    finally:
        worker.close()
