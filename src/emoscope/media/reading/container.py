"""Open media files, with one-line errors; find time zero."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from emoscope.core.errors import MediaError, ReadError

__all__ = ["SOUND_SUFFIXES", "VIDEO_SUFFIXES", "existing", "open_media", "zero_s"]

# Used to recognise recordings in a folder; a file that is given by name may have any suffix.
VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".apng", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)
SOUND_SUFFIXES = frozenset({".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"})

_NOT_MEDIA = frozenset({"tty"})  # FFmpeg reads any .txt file as a video of a terminal


def existing(path: str | Path) -> Path:
    """Return the path of an existing file or folder. Raises MediaError, ReadError if the system
    cannot tell.

    A pipe, a socket or a device is refused: reading one may wait forever."""
    file = Path(path)
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(f"{path}: no such file. Check the path.") from None
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror}. Check its permissions.") from None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise MediaError(f"{path}: not a regular file. Save its content to a file first.")
    return file


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """Open a file with FFmpeg and close it at the end of the block.

    Raises MediaError if it is missing, empty or not a media file; ReadError if the system cannot
    read it. A file that was truncated before its index (an MP4 without `moov`) cannot be
    distinguished from one that is no media file: the message names both.
    """
    file = existing(path)
    if file.is_file() and file.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty. Copy or download it again.")
    try:
        # Absolute, so that no file name is read as a protocol. Tags are often not UTF-8.
        container = av.open(str(file.absolute()), "r", metadata_errors="replace")
    except (OSError, MemoryError) as error:
        raise ReadError(f"{path}: {_reason(error)}") from None
    except av.FFmpegError as error:
        raise MediaError(f"{path}: {_reason(error)}") from None
    with container:
        if container.format.name in _NOT_MEDIA:
            raise MediaError(f"{path}: this is text. Give a video, image or audio file.")
        yield container


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied. Check its permissions."
    if isinstance(error, av.InvalidDataError):
        return (
            "not a video, image or sound that FFmpeg knows, or cut off before its index was"
            " written. Check that it is complete and not just renamed."
        )
    reason = getattr(error, "strerror", None) or str(error)
    is_passing = isinstance(error, OSError | MemoryError)
    remedy = (
        "Check the disk and the system's limits." if is_passing else "Check that it is complete."
    )
    return f"cannot be opened ({reason}). {remedy}"


def zero_s(container: InputContainer) -> float:
    """Start of the container in seconds of its timestamps: time zero of both audio and video.

    FFmpeg rounds it to microseconds. If a stream starts within this rounding, its exact start is
    used, so that its first time is 0 and not ±3e-7."""
    if container.start_time is None:
        return 0.0
    start_s = container.start_time / av.time_base
    for stream in container.streams:
        if stream.start_time is None or stream.time_base is None:
            continue
        exact_s = float(stream.start_time * stream.time_base)
        if abs(exact_s - start_s) < 1e-6:
            return exact_s
    return start_s
