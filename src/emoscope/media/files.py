"""Write files atomically: a file is complete or does not exist."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emoscope.core.errors import MediaError

__all__ = ["check_writable", "replacing"]


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `target` when the block ends without an exception.

    The folder is created if needed. If the block raises, Ctrl-C included, the temporary file is
    removed and an existing `target` stays as it is. Raises MediaError, naming `target`, if the
    file cannot be written.
    """
    # The name is short, as the target's may be as long as the file system allows. It keeps the
    # target's suffix, as some writers choose the format by it.
    part = target.parent / f".emoscope-{secrets.token_hex(6)}{target.suffix}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(target)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = (
            "Free some space or choose another folder." if is_full else "Choose another folder."
        )
        raise MediaError(
            f"{target}: cannot be written: {error.strerror or error}. {remedy}"
        ) from error
    except MediaError as error:  # its message may name the temporary file
        raise MediaError(str(error).replace(str(part), str(target))) from error
    finally:
        # Removing may fail for the same reason as writing, which is being raised already.
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Check that a folder, which may not exist yet, can be written to. Raises MediaError."""
    nearest = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise MediaError(
            f"{folder}: the folder cannot be written to. Choose another one for --out."
        )
