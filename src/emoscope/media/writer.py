"""Write H.264 MP4 videos with the frames' own timestamps and the audio of another file."""

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from emoscope.core.arrays import ByteArray
from emoscope.core.errors import MediaError
from emoscope.media.files import replacing
from emoscope.media.reading.container import existing, open_media, zero_s
from emoscope.media.reading.images import is_image
from emoscope.media.reading.packets import PacketReader
from emoscope.media.video import Frame

__all__ = ["write_video"]

_TICK_S = Fraction(1, 90_000)  # MPEG's clock: exact for all usual frame rates
_QUALITY = {"crf": "20", "preset": "veryfast", "bf": "0"}  # no B frames: exact durations
_COPIED = frozenset(
    {"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"}
)  # codecs that MP4 supports
_AAC_RATES_HZ = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})


def write_video(
    path: str | Path,
    frames: Iterable[Frame],
    *,
    sound_from: str | Path | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    comment: str = "",
) -> None:
    """Write frames to an MP4 that shows each at its own time; irregular times are supported.

    sound_from       file whose audio is added in sync, copied if MP4 supports its codec, else
                     encoded to AAC; a file without audio adds none
    start_s, end_s   span of the source that the frames cover: start_s becomes time zero, and only
                     audio within the span is written
    comment          text to store in the file's metadata

    The size is that of the first frame. Frames of another size are fitted into it, with black bars
    where their shape differs. Odd sizes are padded to even ones by repeating the edge. The file is
    written atomically: an exception, also one of the iterator, leaves nothing behind. Raises
    MediaError if there are no frames, if their times do not increase, or if the file cannot be
    written.
    """
    target = Path(path)
    if sound_from is not None and target.exists() and target.samefile(existing(sound_from)):
        raise MediaError(f"{target}: writing it would replace the original. Choose another name.")
    try:
        with ExitStack() as stack, replacing(target) as part:
            audio = _audio(stack, sound_from, start_s, end_s)
            _write(part, target, frames, audio, start_s, comment)
    except av.FFmpegError as error:  # errors that are also OSErrors: `replacing` raised MediaError
        raise MediaError(
            f"{target}: H.264 cannot encode these frames ({error.strerror}). Write smaller ones."
        ) from error


def _write(
    part: Path,
    target: Path,
    frames: Iterable[Frame],
    audio: "_Audio | None",
    start_s: float,
    comment: str,
) -> None:
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise MediaError(f"{target}: there are no frames to write. Choose a longer span.")
    output = av.open(str(part.absolute()), "w", format="mp4")
    try:
        if comment:
            output.metadata["comment"] = comment
        video = _Video(output, target, first, start_s)
        if audio is not None:
            audio.add_track(output)
        output.start_encoding()  # fails early if the folder is read-only
        for frame in chain([first], remaining):
            video.add(frame)
            if audio is not None:
                audio.add_until(frame.time_s)
        video.finish()
        if audio is not None:
            audio.add_until(math.inf)
        output.close()
    except BaseException:
        with suppress(Exception):  # closing fails again if the disk is full
            output.close()
        raise


class _Video:
    """The video track of an MP4 being written."""

    def __init__(self, output: OutputContainer, target: Path, first: Frame, start_s: float) -> None:
        self._output, self._target, self._start_s = output, target, start_s
        self._size = first.rgb.shape[1], first.rgb.shape[0]
        self._reformatter = VideoReformatter()
        self._durations: dict[int, int] = {}  # {timestamp: duration} of frames being encoded
        self._latest = -1
        height, width = _even(first.rgb).shape[:2]
        self._stream = output.add_stream(
            "libx264", width=width, height=height, options=_QUALITY, time_base=_TICK_S
        )
        context = self._stream.codec_context
        context.pix_fmt = "yuv420p"
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709

    def add(self, frame: Frame) -> None:
        """Encode one frame. Raises MediaError if its time does not come after the previous."""
        ticks = round((frame.time_s - self._start_s) / _TICK_S)
        if ticks <= self._latest:
            previous_s = self._start_s + float(self._latest * _TICK_S)
            raise MediaError(
                f"{self._target}: frame {frame.index} at {frame.time_s:g} s does not come after"
                f" {previous_s:g} s. Write frames in order of time."
            )
        self._durations[ticks] = round(frame.duration_s / _TICK_S) or ticks - max(self._latest, 0)
        self._latest = ticks
        self._mux(self._stream.encode(self._yuv(_fitted(frame.rgb, self._size), ticks)))

    def finish(self) -> None:
        """Flush the encoder."""
        self._mux(self._stream.encode())

    def _mux(self, packets: "list[Packet[Any]]") -> None:
        for packet in packets:
            assert packet.pts is not None  # `_yuv` sets it
            packet.duration = self._durations.pop(packet.pts)
            self._output.mux(packet)

    def _yuv(self, rgb: ByteArray, ticks: int) -> VideoFrame:
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(_even(rgb), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts, frame.time_base = ticks, _TICK_S
        return frame


def _fitted(rgb: ByteArray, size: tuple[int, int]) -> ByteArray:
    """Scale a frame to fit a width and height, with black bars around it."""
    if (rgb.shape[1], rgb.shape[0]) == size:
        return rgb
    width, height = size
    factor = min(width / rgb.shape[1], height / rgb.shape[0])
    inner = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(rgb, inner, interpolation=method)
    return canvas


def _even(rgb: ByteArray) -> ByteArray:
    """Pad to even width and height by repeating the edge."""
    height, width = rgb.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(rgb)
    return np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _audio(
    stack: ExitStack, source: str | Path | None, start_s: float, end_s: float | None
) -> "_Audio | None":
    """Open the audio track of a file; None if it has none."""
    if source is None:
        return None
    file = existing(source)
    if file.is_dir() or is_image(file):
        return None
    container = stack.enter_context(open_media(file))
    tracks = [track for track in container.streams.audio if track.codec_context is not None]
    return _Audio(container, tracks[0], file, start_s, end_s) if tracks else None


class _Audio:
    """An audio track that is copied from one file to another, interleaved with the video."""

    def __init__(
        self,
        source: InputContainer,
        track: AudioStream,
        path: Path,
        start_s: float,
        end_s: float | None,
    ) -> None:
        assert track.time_base is not None  # set for every stream of an open file
        self._track, self._time_base = track, track.time_base
        self._source = PacketReader(source, track, path)
        self._start_s, self._end_s = start_s, math.inf if end_s is None else end_s
        self._zero_s = zero_s(source)
        self._pending: tuple[float, Packet[Any]] | None = None
        self._latest: int | None = None

    def add_track(self, output: OutputContainer) -> None:
        """Add a track to a file that has no packets yet."""
        self._output = output
        if self._track.codec_context.codec.canonical_name in _COPIED:
            self._target = output.add_stream_from_template(self._track)
            self._packets = self._copied()
            return
        rate_hz = self._track.rate if self._track.rate in _AAC_RATES_HZ else 48_000
        self._target = output.add_stream("aac", rate=rate_hz)
        self._target.layout = "mono" if self._track.channels == 1 else "stereo"
        self._packets = self._encoded()

    def add_until(self, time_s: float) -> None:
        """Write the audio up to a time of the source."""
        while True:
            if self._pending is None:
                self._pending = next(self._packets, None)
            if self._pending is None or self._pending[0] > time_s:
                return
            self._output.mux(self._pending[1])
            self._pending = None

    def _copied(self) -> "Iterator[tuple[float, Packet[Any]]]":
        for packet in self._source:
            if packet.pts is None:
                continue  # the empty packet at the end
            time_s, shifted = self._shifted(packet.pts, packet.duration or 0)
            if time_s >= self._end_s:
                return
            if shifted is not None:
                packet.pts = packet.dts = shifted
                packet.stream = self._target
                yield time_s, packet

    def _encoded(self) -> "Iterator[tuple[float, Packet[Any]]]":
        time_s = 0.0
        for frame in self._frames():
            if frame.pts is None:
                continue
            length = round(frame.samples / frame.sample_rate / self._time_base)
            time_s, shifted = self._shifted(frame.pts, length)
            if time_s >= self._end_s:
                break
            if shifted is not None:
                frame.pts = shifted
                yield from ((time_s, packet) for packet in self._target.encode(frame))
        yield from ((time_s, packet) for packet in self._target.encode(None))

    def _frames(self) -> Iterator[AudioFrame]:
        for packet in self._source:
            yield from self._source.decode(packet)

    def _shifted(self, pts: int, duration: int) -> tuple[float, int | None]:
        """Time in the source, and timestamp in the output.

        It is None before the span, and for a packet that does not come after the previous one, as
        at a restart of the file's clock. If the span starts at zero, the encoder's lead-in before
        time zero is kept."""
        time_s = float(pts * self._time_base) - self._zero_s
        if self._start_s > 0 and time_s + float(duration * self._time_base) <= self._start_s:
            return time_s, None
        shifted = pts - round((self._zero_s + self._start_s) / self._time_base)
        if self._latest is not None and shifted <= self._latest:
            return time_s, None
        self._latest = shifted
        return time_s, shifted
