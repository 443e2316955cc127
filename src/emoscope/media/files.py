"""Writing files so that they are whole or absent."""

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
    """A temporary path beside `target`, which takes its place when the block ends well.

    The folder is made if it is not there. Whatever is raised in the block, also Ctrl-C, leaves
    nothing behind and an older `target` as it was. Raises MediaError, naming `target`, where the
    file cannot be written.
    """
    # The name is short, for the target's may be as long as a file system allows; the suffix is
    # the target's, for some writers choose their format by it.
    part = target.parent / f".emoscope-{secrets.token_hex(6)}{target.suffix}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(target)
    except OSError as error:
        raise MediaError(f"{target}: cannot be written: {_reason(error)}") from error
    except MediaError as error:  # may speak of the temporary, which nobody knows
        raise MediaError(str(error).replace(str(part), str(target))) from error
    finally:
        # What stopped the writing may stop this too, and is already on its way up.
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Whether a folder, which need not be there yet, could be written to: asked before any work is
    done for nothing. Raises MediaError."""
    nearest = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise MediaError(
            f"{folder}: the folder cannot be written to. Choose another one for --out."
        )


def _reason(error: OSError) -> str:
    what = error.strerror or str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{what}. {'Free some space or choose' if full else 'Choose'} another folder."
