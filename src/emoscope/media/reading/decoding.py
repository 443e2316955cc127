"""Decode the frames of a container, with their times and indices."""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from emoscope.core.errors import MediaError
from emoscope.media.limits import MAX_FRAME_PIXELS
from emoscope.media.reading.container import zero_s
from emoscope.media.reading.packets import PacketReader, can_seek

__all__ = ["Grid", "Picture", "PictureReader", "picture_stream"]

# Many containers round to milliseconds: a frame this close before an instant counts as at it.
_TOLERANCE_S = 1e-3
_DEFAULT_FPS = 25.0  # for a file with neither timestamps nor a frame rate
# Decoders that can skip single frames; others, such as dav1d, read the option only once.
_CAN_SKIP = frozenset({"h264", "hevc"})
_SEEK_BACK_S = (0.0, 2.0, 15.0, 60.0)  # time before the target to seek to, tried in turn


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded frame, not yet converted to RGB."""

    frame: VideoFrame
    time_s: float  # from the container's time zero
    index: int  # in display order
    duration_s: float  # 0 if unknown


def picture_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the container's video stream, ignoring cover art.

    Raises MediaError if it has none, or larger pictures than MAX_FRAME_PIXELS."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & covers:
        kind = "sound but no picture" if container.streams.audio else "no picture"
        raise MediaError(f"{path}: the file has {kind}. Give one with a video track.")
    if stream.codec_context is None:
        raise MediaError(f"{path}: FFmpeg has no decoder for its video codec. Convert it to H.264.")
    if stream.width * stream.height > MAX_FRAME_PIXELS:
        raise MediaError(
            f"{path}: its pictures have {stream.width} x {stream.height} pixels, and at most"
            f" {MAX_FRAME_PIXELS // 10**6} million are read. Scale them down."
        )
    return stream


class Grid:
    """Selects the first frame at or after each instant k / rate_hz; without a rate, every frame."""

    def __init__(self, rate_hz: float | None) -> None:
        self._rate_hz = rate_hz
        self._latest = -1
        self._first_s: dict[int, float] = {}  # {cell between two instants: time of its first frame}

    @property
    def step_s(self) -> float:
        """Time between two instants; 0 without a rate."""
        return 1 / self._rate_hz if self._rate_hz else 0.0

    def _cell(self, time_s: float, rate_hz: float) -> int:
        return math.floor((time_s + _TOLERANCE_S) * rate_hz)

    def takes(self, time_s: float) -> bool:
        """Whether a frame is selected. Must be called for all frames in display order."""
        if self._rate_hz is None:
            return True
        cell = self._cell(time_s, self._rate_hz)
        if cell <= self._latest:
            return False
        self._latest = cell
        self._first_s = {k: first_s for k, first_s in self._first_s.items() if k >= cell}
        return True

    def skips(self, time_s: float) -> bool:
        """Whether a packet can be skipped, as an earlier frame of the same cell is known.

        Must be called for all packets, in any order."""
        if self._rate_hz is None:
            return False
        cell = self._cell(time_s, self._rate_hz)
        first_s = self._first_s.get(cell, math.inf)
        self._first_s[cell] = min(time_s, first_s)
        return first_s < time_s

    def instant_before(self, time_s: float) -> float:
        """Time from which frames must be read to select correctly from `time_s` on."""
        if self._rate_hz is None:
            return time_s
        return self._cell(time_s, self._rate_hz) / self._rate_hz - _TOLERANCE_S


class PictureReader:
    """Decodes the video stream of a container, once.

    end_s          end of the pictures read so far, from time zero
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, grid: Grid, path: Path
    ) -> None:
        assert stream.time_base is not None  # set for every stream of an open file
        self._container, self._stream, self._grid = container, stream, grid
        self._packets = PacketReader(container, stream, path)
        self._decoded_s = self._unneeded_s = 0.0
        self._time_base = stream.time_base
        self._zero_s = zero_s(container)
        rate = stream.average_rate or stream.guessed_rate
        self._fps = float(rate) if rate else _DEFAULT_FPS
        self._start_s = 0.0 if stream.start_time is None else self._time_s(stream.start_time)
        self._skipped: list[int] = []  # heap of timestamps that the decoder may skip
        # AVI has no presentation timestamps, and those that FFmpeg derives are out of order.
        self._has_pts = container.format.name != "avi" and stream.start_time is not None
        self._can_skip = self._has_pts and stream.codec_context.name in _CAN_SKIP
        self._first_dts: int | None = None
        stream.thread_type = "AUTO"
        # Damaged data can state another size midway: such frames are not decoded.
        stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}

    @property
    def restarts_s(self) -> list[float]:
        """Times in seconds at which the file's clock restarted."""
        return self._packets.restarts_s

    @property
    def end_s(self) -> float:
        # Beyond one step of the grid, what was skipped should have had a frame that was decoded.
        return max(self._decoded_s, min(self._unneeded_s, self._decoded_s + self._grid.step_s))

    def expected_end_s(self) -> float:
        """Where the pictures should end; see `PacketReader.expected_end_s`."""
        return self._packets.expected_end_s()

    def pictures(self, from_s: float = 0.0) -> Iterator[Picture]:
        """Decode from a frame at or before `from_s` to the end.

        Some frames that the grid does not select are skipped. Times are strictly increasing;
        missing ones are derived from the frame rate."""
        previous: Picture | None = None
        for frame in self._frames_from(from_s):
            time_s = self._display_time_s(frame)
            skipped = self._skipped_before(frame)
            if previous is None:
                time_s = self._start_s if time_s is None else time_s
                index = max(0, round((time_s - self._start_s) * self._fps))
            else:
                if time_s is None:
                    time_s = previous.time_s + 1 / self._fps
                elif time_s <= previous.time_s:  # half a frame, until the file's times catch up
                    time_s = previous.time_s + 0.5 / self._fps
                index = previous.index + 1 + skipped
            duration_s = float((frame.duration or 0) * self._time_base)
            self._decoded_s = max(self._decoded_s, time_s + (duration_s or 1 / self._fps))
            previous = Picture(frame, time_s, index, duration_s)
            yield previous

    def _display_time_s(self, frame: VideoFrame) -> float | None:
        if self._has_pts:
            return None if frame.pts is None else self._time_s(frame.pts)
        if frame.dts is None:
            return None
        if self._first_dts is None:
            self._first_dts = frame.dts
        return self._start_s + float((frame.dts - self._first_dts) * self._time_base)

    def _time_s(self, pts: int) -> float:
        return pts * self._time_base.numerator / self._time_base.denominator - self._zero_s

    def _skipped_before(self, frame: VideoFrame) -> int:
        """Number of frames that the decoder skipped between the previous frame and this one."""
        count = 0
        while frame.pts is not None and self._skipped and self._skipped[0] <= frame.pts:
            count += heapq.heappop(self._skipped) < frame.pts  # equal: it was decoded after all
        return count

    def _frames_from(self, from_s: float) -> Iterator[VideoFrame]:
        """Seek to the key frame before `from_s`; if the seek lands too late, seek further back.

        MPEG-TS seeks by estimation, MP4 by decoding time, which precedes the display time."""
        has_moved = False
        for back_s in _SEEK_BACK_S:
            target_s = from_s - back_s
            if target_s <= self._start_s or not self._has_pts or not can_seek(self._container):
                break
            has_moved = True
            if not self._seek(target_s):
                break
            frames = self._frames(from_s)
            first = next(frames, None)
            if first and first.pts is not None and self._time_s(first.pts) <= from_s:
                yield first
                yield from frames
                return
        if has_moved:
            self._seek(self._start_s - 1.0)  # MPEG-TS skips a frame at exactly the start
        yield from self._frames(from_s)

    def _seek(self, time_s: float) -> bool:
        self._skipped.clear()
        try:
            ticks = math.floor((time_s + self._zero_s) / self._time_base)
            self._container.seek(ticks, stream=self._stream)
        except av.FFmpegError:
            return False
        return True

    def _frames(self, from_s: float) -> Iterator[VideoFrame]:
        context = self._stream.codec_context
        for packet in self._packets:
            # NONREF: skip the frame if no other frame refers to it.
            context.skip_frame = "NONREF" if self._is_unneeded(packet, from_s) else "DEFAULT"
            yield from self._packets.decode(packet)

    def _is_unneeded(self, packet: "Packet[Any]", from_s: float) -> bool:
        if not self._can_skip or packet.pts is None or packet.is_discard:
            return False  # a packet to discard is decoded but never shown
        time_s = self._time_s(packet.pts)
        is_unneeded = self._grid.skips(time_s) or time_s < from_s
        if is_unneeded:
            heapq.heappush(self._skipped, packet.pts)
            end_s = time_s + float((packet.duration or 0) * self._time_base)
            self._unneeded_s = max(self._unneeded_s, end_s)
        return is_unneeded
