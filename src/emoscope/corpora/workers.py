"""A process pool in which a crash loses one item, not the run."""

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
_LEAVE_S = 5.0  # time for a process to delete its temporary files


@dataclass(frozen=True)
class Crashed:
    """The result for an item whose process died. `code` is its exit code, as in multiprocessing."""

    code: int | None


@dataclass(eq=False)
class _Worker(Generic[Item]):
    """A process, our end of its pipe, and the item that it was given."""

    process: BaseProcess
    pipe: "Connection[Any, Any]"
    item: Item | None = None  # the item in progress; None until the process is ready


def each_in_processes(
    job: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Generator[tuple[Item, Result | Crashed], None, None]:
    """Yield (item, job(item)) in order of completion. OpenCV uses one thread in each process.

    `job` and `items` are pickled. With one worker the job runs in this process, where a crash is
    not caught. The processes end with the iteration, also on Ctrl-C. Raises EmoscopeError with the
    message that the job raised, or where processes cannot be started.
    """
    if workers == 1:
        yield from ((item, job(item)) for item in items)
        return
    waiting = iter(items)
    pool = [_start(job) for _ in range(min(workers, len(items)))]
    try:
        while pool:
            for pipe in wait([worker.pipe for worker in pool]):
                worker = next(worker for worker in pool if worker.pipe is pipe)
                item, result = worker.item, _received(worker)
                if isinstance(result, Crashed):
                    pool[pool.index(worker)] = worker = _start(job)
                else:
                    worker.item = next(waiting, None)
                    _send_or_dismiss(worker, pool)
                if item is not None:
                    yield item, result
    finally:
        for worker in pool:
            worker.process.terminate()
        for worker in pool:
            worker.process.join(_LEAVE_S)
            worker.process.kill()


def _start(job: Callable[[Any], Any]) -> _Worker[Any]:
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(job, theirs), daemon=True)
    with _interrupts_blocked():
        process.start()
    theirs.close()  # so that our end is closed when the process dies
    return _Worker(process, ours)


def _send_or_dismiss(worker: _Worker[Any], pool: list[_Worker[Any]]) -> None:
    """Send a worker its item; end the worker if there is none left."""
    if worker.item is None:
        pool.remove(worker)
        worker.pipe.close()
        worker.process.join()
        return
    with suppress(OSError):  # it crashed between two items: the next `wait` reports it
        worker.pipe.send(worker.item)


def _received(worker: _Worker[Any]) -> Any:
    """The next message of a worker: the result of its item, or Crashed. Raises EmoscopeError."""
    try:
        kind, result = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        worker.pipe.close()
        if worker.item is None:
            raise EmoscopeError(
                "Worker processes cannot be started. Guard the calling script with "
                'if __name__ == "__main__", or use one worker.'
            ) from None
        return Crashed(worker.process.exitcode)
    if kind == "raised":
        raise EmoscopeError(result)
    return result


def _serve(job: Callable[[Any], Any], pipe: "Connection[Any, Any]") -> None:
    """The main function of a worker process: handle items until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    signal.signal(signal.SIGTERM, _leave)
    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):
        pipe.send((_READY, None))
        while True:
            item = pipe.recv()
            try:
                message = ("done", job(item))
            except EmoscopeError as error:
                message = ("raised", str(error))
            pipe.send(message)


def _leave(*_: object) -> None:
    raise SystemExit  # runs the `finally` blocks that delete temporary files


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT, also in a process started meanwhile: Ctrl-C during its imports would print a
    traceback. This process receives a blocked signal afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
