"""A job for each of many items, in processes of their own: one that crashes is one item lost."""

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import cv2

from emoscope.core.errors import EmoscopeError

__all__ = ["Crashed", "each_in_processes"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_READY = "ready"
_LEAVE_S = 5.0  # for a process to take its temporary files along


@dataclass(frozen=True)
class Crashed:
    """The process that had the item is gone; `code` as `multiprocessing` tells it."""

    code: int | None


@dataclass(eq=False)
class _Worker(Generic[Item]):
    process: BaseProcess
    pipe: "Connection[Any, Any]"
    item: Item | None = None  # None until it is ready


def each_in_processes(
    job: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Generator[tuple[Item, Result | Crashed], None, None]:
    """(item, job(item)) as they are done, in any order; OpenCV has one thread in each process.

    `job` and `items` are pickled. With one worker the job is done in this process, where a crash is
    a crash. However the iteration ends, also by Ctrl-C, the processes end too. Raises EmoscopeError
    with what the job raised, or where processes cannot be started.
    """
    if workers == 1:
        yield from ((item, job(item)) for item in items)
        return
    waiting = iter(items)
    crew = [_hire(job) for _ in range(min(workers, len(items)))]
    try:
        while crew:
            for pipe in wait([worker.pipe for worker in crew]):
                worker = next(worker for worker in crew if worker.pipe is pipe)
                item, result = worker.item, _received(worker)
                if isinstance(result, Crashed):
                    crew[crew.index(worker)] = worker = _hire(job)
                else:
                    worker.item = next(waiting, None)
                    _give_or_dismiss(worker, crew)
                if item is not None:
                    yield item, result
    finally:
        for worker in crew:
            worker.process.terminate()
        for worker in crew:
            worker.process.join(_LEAVE_S)
            worker.process.kill()


def _hire(job: Callable[[Any], Any]) -> _Worker[Any]:
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(job, theirs), daemon=True)
    with _without_interrupts():
        process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Worker(process, ours)


def _give_or_dismiss(worker: _Worker[Any], crew: list[_Worker[Any]]) -> None:
    if worker.item is None:
        crew.remove(worker)
        worker.pipe.close()
        worker.process.join()
        return
    with suppress(OSError):  # it has crashed between two items: the next `wait` will tell
        worker.pipe.send(worker.item)


def _received(worker: _Worker[Any]) -> Any:
    """The result of the item that a worker had."""
    try:
        kind, result = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        worker.pipe.close()
        if worker.item is None:
            raise EmoscopeError(
                "Worker processes cannot be started: guard the script that calls this by "
                'if __name__ == "__main__", or ask for one worker.'
            ) from None
        return Crashed(worker.process.exitcode)
    if kind == "raised":
        raise EmoscopeError(result)
    return result


def _serve(job: Callable[[Any], Any], pipe: "Connection[Any, Any]") -> None:
    """What a process does: one item after the other, until nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends this process
    signal.signal(signal.SIGTERM, _leave)
    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):
        pipe.send((_READY, None))
        while True:
            item = pipe.recv()
            try:
                answer = ("done", job(item))
            except EmoscopeError as error:
                answer = ("raised", str(error))
            pipe.send(answer)


def _leave(*_: object) -> None:
    raise SystemExit  # rather than die, so that nothing temporary stays behind


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process starts with them blocked: one that comes while it imports is not told by a
    traceback. This process gets its own afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
