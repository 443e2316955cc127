"""Read the packets of a container on one clock that never restarts.

Picture and sound are read in separate passes. Both see the packets of all streams in the order of
the file, so that both continue time in the same way where the file's clock restarts.
"""

import math
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from emoscope.core.errors import ReadError
from emoscope.media.reading.container import open_media, zero_s

__all__ = ["PacketReader", "can_seek"]

_BACK_S = 0.25  # a decoding time earlier by more is a restart; less is jitter of the file
_FORWARD_S = 10.0  # a decoding time later by more is kept only if the next packet confirms it
_SAME_RESTART_S = 5.0  # streams that restart within this time share the restart
_BEYOND_S = 1.0  # a time beyond the stated end by more is wrong
_SHORT_S = 0.25  # a stream that ends earlier by less reaches the stated end
_LOOK_AHEAD = 256  # packets
# Formats that state the length, in the header or (Ogg) the last page. MPEG and raw streams do not:
# FFmpeg estimates it from the size of the file or its last timestamps.
_STATING = frozenset(
    {"aiff", "asf", "avi", "caf", "flac", "flv", "matroska", "mov", "ogg", "w64", "wav"}
)
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEADER_BYTES = 1 << 16
# Recordings in these formats are often joined.
_RESTARTING = frozenset({"flv", "mpeg", "mpegts", "ogg"})


def _stated_end_s(container: InputContainer, stream: Stream) -> tuple[float, bool]:
    """End of a stream from time zero, as the file's header states it, NaN if it does not; and
    whether it is the stream's own and not that of the longest one."""
    name = container.format.name
    has_lame_tag = name == "mp3" and bool(stream.start_time)  # else the length is estimated
    tick_s = float(stream.time_base or 0)
    if not has_lame_tag and not _STATING & set(name.split(",")):
        return math.nan, False
    if name == "avi" and stream.frames:  # the duration is shortened to the size of the file
        return stream.frames * tick_s - zero_s(container), True
    if stream.duration is not None and name != "asf":
        end_s = ((stream.start_time or 0) + stream.duration) * tick_s
        return end_s * _missing_share(container) - zero_s(container), True
    if name == "asf":
        return _asf_end_s(Path(container.name)), False
    if container.duration is None or container.streams.subtitles:  # which may end last
        return math.nan, False
    return container.duration / av.time_base - zero_s(container), False


def _asf_end_s(path: Path) -> float:
    """Length that the header of a WMV or WMA file states; NaN if it states none.

    FFmpeg does not report it for a file of another size than stated."""
    try:
        with path.open("rb") as file:
            properties = file.read(_ASF_HEADER_BYTES).partition(_ASF_PROPERTIES)[2]
        play, _, preroll_ms, flags = struct.unpack_from("<QQQI", properties, 48)
    except (OSError, struct.error):
        return math.nan
    return math.nan if flags & 1 else play / 1e7 - preroll_ms / 1e3  # 1: broadcast


def _missing_share(container: InputContainer) -> float:
    """Stated size of a WAV file by its size; 1 if it is whole, and for other files.

    FFmpeg shortens the duration of such a file to the size that it has."""
    if container.format.name != "wav":
        return 1.0
    try:
        with Path(container.name).open("rb") as file:
            magic, stated = struct.unpack("<4sI", file.read(8))
            size = file.seek(0, os.SEEK_END)
    except (OSError, struct.error):
        return 1.0
    # A file written to a pipe states no size, or the largest one.
    return (stated + 8) / size if magic == b"RIFF" and size < stated + 8 < 2**32 - 256 else 1.0


def can_seek(container: InputContainer) -> bool:
    """Whether a time names one place in the file: not where the clock of an MPEG, FLV or Ogg file
    restarts.

    All its packets are read once to find out; the answer is kept while the file does not change."""
    if container.format.name not in _RESTARTING:
        return True
    try:
        status = Path(container.name).stat()
    except OSError:
        return True
    return not _restarts(container.name, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _restarts(name: str, _mtime_ns: int, _size: int) -> bool:
    with open_media(name) as container:
        stream = (container.streams.video or container.streams.audio)[0]
        packets = PacketReader(container, stream, Path(name))
        return any(packets.restarts_s for _ in packets)


@dataclass
class _Clock:
    """One stream's position: its last decoding time in the file, and its number of restarts."""

    latest_s: float
    restarts: int = 0


class PacketReader:
    """Iterates over the readable packets of one stream, from the container's current position.

    Damaged packets are skipped; the last packet is empty and flushes the decoder. Where the file's
    timestamps jump back, later packets follow the end of all earlier ones. A jump forward is kept.
    A single wrong time, and times beyond the file's stated end, are removed: such a packet has no
    time. Raises ReadError if the system cannot read the file.

    restarts_s   when the file's clock restarted, from time zero
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream | AudioStream, path: Path
    ) -> None:
        self._container, self._stream, self._path = container, stream, path
        self._zero_s = zero_s(container)
        self._ticks_s = {
            one.index: float(one.time_base)
            for one in container.streams
            if one.time_base is not None and isinstance(one, VideoStream | AudioStream)
        }
        self._latest_s = math.inf
        if container.duration and container.format.name not in _RESTARTING:
            self._latest_s = self._zero_s + container.duration / av.time_base + _BEYOND_S
        self._start()

    def _start(self) -> None:
        self.restarts_s: list[float] = []
        self._longest_s = self._own_end_s = 0.0
        self._offsets_s = [0.0]  # added to the times after restart k
        self._clocks: dict[int, _Clock] = {}

    def __iter__(self) -> Iterator["Packet[Any]"]:
        self._start()
        demuxed = self._demuxed()
        ahead: deque[Packet[Any]] = deque()

        def read_ahead() -> bool:
            """Read one packet more; return whether there is one."""
            packet = next(demuxed, None)
            if packet is not None:
                ahead.append(packet)
            return packet is not None

        def following_s(index: int) -> float | None:
            """Decoding time of a stream's next packet; None if there is none close by."""
            for position in range(_LOOK_AHEAD):
                if position == len(ahead) and not read_ahead():
                    return None
                packet = ahead[position]
                if packet.stream_index == index and packet.dts is not None:
                    return packet.dts * self._ticks_s[index]
            return None

        while ahead or read_ahead():
            packet = ahead.popleft()
            if packet.stream_index in self._ticks_s:
                self._continue(packet, following_s)
                self._see(packet)
            if packet.stream_index == self._stream.index:
                yield packet
        yield Packet()

    def expected_end_s(self) -> float:
        """Where the stream should end, from time zero, once all packets have been read.

        It is the end that the header states, or that of the stream's last packet if that is later.
        A header that states the end of the longest stream says nothing about the others."""
        stated_s, is_own = _stated_end_s(self._container, self._stream)
        if math.isnan(stated_s) or (not is_own and self._longest_s >= stated_s - _SHORT_S):
            return self._own_end_s
        return max(stated_s, self._own_end_s)

    def decode(self, packet: "Packet[Any]") -> list[Any]:
        """Frames of a packet of the stream, none if it is damaged. Raises ReadError if the memory
        does not suffice."""
        try:
            return list(self._stream.decode(packet))
        except MemoryError as error:
            raise self._failure(error) from None
        except av.FFmpegError:
            return []

    def _demuxed(self) -> Iterator["Packet[Any]"]:
        """All readable packets, up to the end or to damage that cannot be skipped."""
        demuxed = self._container.demux()
        while True:
            try:
                packet = next(demuxed)
            except StopIteration:
                return
            except IndexError:  # a packet of a stream that starts midway
                demuxed = self._container.demux()
                continue
            except (OSError, MemoryError) as error:
                raise self._failure(error) from None
            except av.FFmpegError:
                return
            if not packet.is_corrupt and (packet.size or packet.pts is not None):
                yield packet

    def _failure(self, error: OSError | MemoryError) -> ReadError:
        reason = getattr(error, "strerror", None) or "not enough memory"
        return ReadError(
            f"{self._path}: reading stopped at {self._longest_s:.4g} s: {reason}. Check the disk or"
            " the connection and read the file again."
        )

    def _continue(self, packet: "Packet[Any]", following_s: Callable[[int], float | None]) -> None:
        """Move a packet's times to the clock that never restarts."""
        index, dts = packet.stream_index, packet.dts
        tick_s, clock = self._ticks_s[index], self._clocks.get(index)
        if dts is not None:
            time_s = dts * tick_s
            if time_s > self._latest_s:
                packet.pts = packet.dts = None
                return
            if clock is None:
                clock = self._clocks[index] = _Clock(time_s)
            jump_s = time_s - clock.latest_s
            if not -_BACK_S <= jump_s <= _FORWARD_S:
                next_s = following_s(index)
                if next_s is not None and abs(next_s - time_s) > abs(next_s - clock.latest_s):
                    packet.pts = packet.dts = None
                    return
                if jump_s < 0:
                    first = dts if packet.pts is None else packet.pts
                    clock.restarts = self._restart(clock.restarts + 1, first * tick_s)
            clock.latest_s = time_s
        if clock is not None and clock.restarts:
            ticks = round(self._offsets_s[clock.restarts] / tick_s)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if dts is None else dts + ticks

    def _restart(self, number: int, time_s: float) -> int:
        """Number of the restart that continues with `time_s`: another stream's, or the next one."""
        end_s = self._longest_s + self._zero_s
        while number < len(self._offsets_s):
            if abs(time_s + self._offsets_s[number] - end_s) <= _SAME_RESTART_S:
                return number
            number += 1
        self._offsets_s.append(end_s - time_s)
        self.restarts_s.append(self._longest_s)
        return number

    def _see(self, packet: "Packet[Any]") -> None:
        pts = packet.pts
        if pts is None:
            return
        tick_s = self._ticks_s[packet.stream_index]
        end_s = (pts + (packet.duration or 0)) * tick_s - self._zero_s
        if end_s > self._longest_s:
            self._longest_s = end_s
        is_own = packet.stream_index == self._stream.index
        if is_own and end_s > self._own_end_s and not packet.is_discard:
            self._own_end_s = end_s
