"""Opening a media file, every way in which that fails told in one line; and its zero of time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from emoscope.core.errors import MediaError

__all__ = ["SOUND_SUFFIXES", "VIDEO_SUFFIXES", "existing", "open_media", "packets", "zero_s"]

# By which recordings are told from other files in a folder; a file that is named is opened whatever
# its suffix.
VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)
SOUND_SUFFIXES = frozenset({".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"})

_NOT_MEDIA = frozenset({"tty"})  # FFmpeg draws any .txt as a film of a terminal


def existing(path: str | Path) -> Path:
    """The path, if there is something at it. Raises MediaError otherwise."""
    found = Path(path)
    try:
        found.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(f"{path}: no such file. Check the path.") from None
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}. Check its permissions.") from None
    return found


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """Open a file with FFmpeg, and close it. Raises MediaError if it is missing, empty or no media.

    A file cut off before its index was written (an MP4 without `moov`) cannot be told from one
    of another kind: the message names both.
    """
    file = existing(path)
    if file.is_file() and file.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty. Copy or download it again.")
    try:
        # An absolute path, so that no name is taken for a protocol; tags are often not UTF-8.
        container = av.open(str(file.absolute()), "r", metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: {_why_unopened(error)}") from None
    with container:
        if container.format.name in _NOT_MEDIA:
            raise MediaError(f"{path}: this is text. Give a video, image or sound file.")
        yield container


def _why_unopened(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "reading it is not permitted. Check its permissions."
    if isinstance(error, av.InvalidDataError):
        return (
            "not a video, image or sound that FFmpeg knows, or cut off before its index was"
            " written. Check that it is complete and was not merely renamed."
        )
    reason = getattr(error, "strerror", None) or str(error)
    return f"cannot be opened ({reason}). Check that it is complete."


def zero_s(container: InputContainer) -> float:
    """The container's start, which is zero for sound and picture alike: seconds of its timestamps.

    FFmpeg rounds it to microseconds; where a stream starts within that, the stream's own exact
    start is taken, so that its first time is 0 and not ±3e-7."""
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


def packets(container: InputContainer, stream: Stream) -> "Iterator[Packet[Any]]":
    """A stream's packets, as far as they can be read, without those known to be damaged. The last
    one is empty: it has the decoder give what it still holds."""
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed)
        except StopIteration:
            return
        except (av.FFmpegError, IndexError):  # the latter where a stream springs up midway
            yield Packet()
            return
        if not packet.is_corrupt:
            yield packet
