"""The lock of a run folder: one process trains in it at a time.

FOLDER/.lock names the owner. It is created exclusively, which works on network shares too, where
advisory locks may be missing. The lock of a process that has ended on this machine is taken over;
whether a process of another machine has ended cannot be known, so the user decides.
"""

import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from emoscope.core.errors import MediaError, RecipeError

__all__ = ["check_owner", "holder", "owned"]

_NAME = ".lock"
_TRIES, _PAUSE_S = 20, 0.05  # for a lock that changes hands, or is being written


@dataclass(frozen=True)
class _Owner:
    """The process that holds a lock.

    space   the process numbers' namespace: containers of one host have their own
    birth   when the process started, as the system counts; "" if unknown
    token   different for each lock
    """

    host: str
    space: str
    pid: int
    birth: str
    since: str
    token: str

    @classmethod
    def this_process(cls) -> Self:
        pid, since = os.getpid(), datetime.now().astimezone().isoformat(timespec="seconds")
        _, birth = _state_of(pid)
        return cls(socket.gethostname(), _space(), pid, birth, since, secrets.token_hex(8))

    def __str__(self) -> str:
        since, now = datetime.fromisoformat(self.since).astimezone(), datetime.now().astimezone()
        time_format = "%H:%M" if since.date() == now.date() else "%Y-%m-%d %H:%M"
        return f"process {self.pid} on {self.host} since {since:{time_format}}"

    @property
    def has_ended(self) -> bool:
        """Whether it is known that the process has ended."""
        if (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        if sys.platform == "win32":  # os.kill would end the process there
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass  # a process of another user
        state, birth = _state_of(self.pid)
        return state in ("Z", "X") or bool(self.birth and birth and birth != self.birth)


_held: dict[Path, _Owner] = {}  # by this process; processes that load clips inherit it


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which is created if needed and removed if it stays empty.

    Raises RecipeError if another process, or another thread of this one, holds it, and MediaError
    for a folder that cannot be written to."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    path, owner = folder / _NAME, _Owner.this_process()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(path, owner)
    except OSError as error:
        raise MediaError(
            f"{folder}: the folder cannot be written to: {error.strerror or error}. Choose another "
            "one."
        ) from None
    _held[folder.absolute()] = owner
    try:
        yield
    finally:
        del _held[folder.absolute()]
        with suppress(OSError):
            if _read(path) == owner:
                path.unlink()
            for place in missing:
                place.rmdir()  # fails for a folder that is not empty


def check_owner(folder: Path) -> None:
    """Check, before writing, that this process still holds the lock that it took.

    A deleted lock is written again. Does nothing in a process that took none, such as the others of
    a distributed training. Raises RecipeError if another process has the lock."""
    owner = _held.get(folder.absolute())
    if owner is None:
        return
    with suppress(OSError):
        _create(folder / _NAME, owner)
    current = _read(folder / _NAME)
    if current is not None and current != owner:
        raise RecipeError(
            f"{folder}: taken over by {current}. This training stops; resume it when the other one "
            "has ended."
        )


def holder(folder: Path) -> str:
    """The process that trains in a run folder, in words; "" if there is none."""
    owner = _read(folder / _NAME)
    return "" if owner is None or owner.has_ended else str(owner)


def _acquire(path: Path, owner: _Owner) -> None:
    """Create the lock. Raises RecipeError if it is held, OSError if it cannot be written."""
    for _ in range(_TRIES):
        with suppress(FileExistsError):
            _create(path, owner)
            return
        current = _read(path)
        if current is None:
            time.sleep(_PAUSE_S)  # it has just been released, or is being written
        elif current.has_ended:
            _remove(path, current)
        else:
            break
    raise RecipeError(
        f"{path.parent}: in use by {current or 'an unknown process'}. Wait for it, or delete "
        f"{path} if it is gone."
    )


def _create(path: Path, owner: _Owner) -> None:
    """Write a lock that does not exist yet. Raises FileExistsError or another OSError."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(owner)))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _remove(path: Path, dead: _Owner) -> None:
    """Remove the lock of a process that has ended, unless another process has taken it over."""
    aside = path.with_name(f".emoscope-{secrets.token_hex(6)}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _read(aside) == dead:
            aside.unlink()
        else:
            aside.replace(path)


def _read(path: Path) -> _Owner | None:
    """The owner in a lock file; None for a missing, empty or unreadable one."""
    try:
        owner = _Owner(**json.loads(path.read_text(encoding="utf-8")))
        datetime.fromisoformat(owner.since)
    except (OSError, ValueError, TypeError):
        return None
    return owner


def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _state_of(pid: int) -> tuple[str, str]:
    """State and start of a process on Linux, as /proc/PID/stat has them; "" elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    state, *more = fields.rpartition(")")[2].split()  # the name before it may hold spaces
    return state, more[18]
