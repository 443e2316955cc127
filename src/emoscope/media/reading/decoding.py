"""From a container's packets to its pictures: each with its time and its place in the film."""

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
from emoscope.media.reading.container import packets, zero_s

__all__ = ["Grid", "Picture", "PictureReader", "picture_stream"]

# Many containers keep whole milliseconds: a frame this little before an instant is at it.
_TOLERANCE_S = 1e-3
_USUAL_FPS = 25.0  # where a file has neither timestamps nor a rate
# The decoders that let frames be left out one by one: dav1d, for one, reads the wish but once.
_OBEDIENT = frozenset({"h264", "hevc"})
_SEEK_BACK_S = (0.0, 2.0, 15.0, 60.0)  # how long before the goal to seek, until it is met


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded frame, not yet converted."""

    frame: VideoFrame
    time_s: float  # from the container's zero
    index: int  # in display order
    duration_s: float  # 0 where it is not known


def picture_stream(container: InputContainer, path: Path) -> VideoStream:
    """The container's film. Raises MediaError if it has none; the cover of a song is not one."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & covers:
        kind = "sound but no picture" if container.streams.audio else "no picture"
        raise MediaError(f"{path}: the file has {kind}. Give one with a video track.")
    if stream.codec_context is None:
        raise MediaError(f"{path}: FFmpeg has no decoder for its video. Convert it to H.264.")
    return stream


class Grid:
    """The instants k / rate_hz from time zero, and which frames they take: the first at or after
    each, so a frame an instant at most. Without a rate every frame is taken."""

    def __init__(self, rate_hz: float | None) -> None:
        self._rate_hz = rate_hz
        self._latest = -1
        self._first_s: dict[int, float] = {}  # earliest known frame between two instants

    def _cell(self, time_s: float, rate_hz: float) -> int:
        return math.floor((time_s + _TOLERANCE_S) * rate_hz)

    def takes(self, time_s: float) -> bool:
        """Whether a frame is taken. To be asked of all frames in display order."""
        if self._rate_hz is None:
            return True
        cell = self._cell(time_s, self._rate_hz)
        if cell <= self._latest:
            return False
        self._latest = cell
        self._first_s = {k: first_s for k, first_s in self._first_s.items() if k >= cell}
        return True

    def passes_over(self, time_s: float) -> bool:
        """Whether a frame is known not to be taken, before it is decoded: an earlier one between
        the same instants has been seen. To be asked of all packets, in whatever order."""
        if self._rate_hz is None:
            return False
        cell = self._cell(time_s, self._rate_hz)
        first_s = self._first_s.get(cell, math.inf)
        self._first_s[cell] = min(time_s, first_s)
        return first_s < time_s

    def instant_before(self, time_s: float) -> float:
        """From where frames must be seen to know which are taken from `time_s` on."""
        if self._rate_hz is None:
            return time_s
        return self._cell(time_s, self._rate_hz) / self._rate_hz - _TOLERANCE_S


class PictureReader:
    """Decodes one stream of a container. To be read once."""

    def __init__(self, container: InputContainer, stream: VideoStream, grid: Grid) -> None:
        assert stream.time_base is not None  # every stream that was demuxed has one
        self._container, self._stream, self._grid = container, stream, grid
        self._time_base = stream.time_base
        self._zero_s = zero_s(container)
        rate = stream.average_rate or stream.guessed_rate
        self._fps = float(rate) if rate else _USUAL_FPS
        self._start_s = 0.0 if stream.start_time is None else self._time_s(stream.start_time)
        self._left_out: list[int] = []  # heap of the timestamps that the decoder may leave out
        # AVI keeps no times of display, and what FFmpeg makes of it is out of order.
        self._has_pts = container.format.name != "avi" and stream.start_time is not None
        self._can_leave_out = self._has_pts and stream.codec_context.name in _OBEDIENT
        self._first_dts: int | None = None
        stream.thread_type = "AUTO"

    def pictures(self, from_s: float = 0.0) -> Iterator[Picture]:
        """All pictures from one at or before `from_s` to the end, but for some of those that the
        grid does not take. Times always increase; missing ones are filled from the frame rate."""
        before: Picture | None = None
        for frame in self._frames_from(from_s):
            time_s = self._shown_at_s(frame)
            left_out = self._left_out_before(frame)
            if before is None:
                time_s = self._start_s if time_s is None else time_s
                index = max(0, round((time_s - self._start_s) * self._fps))
            else:
                if time_s is None:
                    time_s = before.time_s + 1 / self._fps
                elif time_s <= before.time_s:  # half a step, to let the file's times catch up
                    time_s = before.time_s + 0.5 / self._fps
                index = before.index + 1 + left_out
            before = Picture(frame, time_s, index, float((frame.duration or 0) * self._time_base))
            yield before

    def _shown_at_s(self, frame: VideoFrame) -> float | None:
        if self._has_pts:
            return None if frame.pts is None else self._time_s(frame.pts)
        if frame.dts is None:
            return None
        if self._first_dts is None:
            self._first_dts = frame.dts
        return self._start_s + float((frame.dts - self._first_dts) * self._time_base)

    def _time_s(self, pts: int) -> float:
        return pts * self._time_base.numerator / self._time_base.denominator - self._zero_s

    def _left_out_before(self, frame: VideoFrame) -> int:
        """How many frames the decoder has left out between the frame before and this one."""
        count = 0
        while frame.pts is not None and self._left_out and self._left_out[0] <= frame.pts:
            count += heapq.heappop(self._left_out) < frame.pts  # equal: it was decoded after all
        return count

    def _frames_from(self, from_s: float) -> Iterator[VideoFrame]:
        """Seek to the key frame before. Where a seek lands too late, try from further back:
        MPEG-TS seeks by guessing, MP4 by decoding time, which precedes the time of display."""
        moved = False
        for back_s in _SEEK_BACK_S:
            goal_s = from_s - back_s
            if goal_s <= self._start_s or not self._has_pts:
                break
            moved = True
            if not self._seek(goal_s):
                break
            frames = self._frames(from_s)
            first = next(frames, None)
            if first and first.pts is not None and self._time_s(first.pts) <= from_s:
                yield first
                yield from frames
                return
        if moved:
            self._seek(self._start_s - 1.0)  # MPEG-TS passes over what is at the start itself
        yield from self._frames(from_s)

    def _seek(self, time_s: float) -> bool:
        self._left_out.clear()
        try:
            ticks = math.floor((time_s + self._zero_s) / self._time_base)
            self._container.seek(ticks, stream=self._stream)
        except av.FFmpegError:
            return False
        return True

    def _frames(self, from_s: float) -> Iterator[VideoFrame]:
        context = self._stream.codec_context
        for packet in packets(self._container, self._stream):
            # NONREF: a frame that no other one refers to need not be decoded to be left out.
            context.skip_frame = "NONREF" if self._needless(packet, from_s) else "DEFAULT"
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError:
                continue  # damaged: go on with the next
            yield from frames

    def _needless(self, packet: "Packet[Any]", from_s: float) -> bool:
        if not self._can_leave_out or packet.pts is None or packet.is_discard:
            return False  # a packet to discard is decoded and not shown: it does not count
        time_s = self._time_s(packet.pts)
        needless = self._grid.passes_over(time_s) or time_s < from_s
        if needless:
            heapq.heappush(self._left_out, packet.pts)
        return needless
