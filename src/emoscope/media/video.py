"""Read timestamped RGB frames from a video, an image, or a folder of numbered images.

Times are the file's own timestamps, so variable frame rates are supported. Time zero is the start
of the container, for audio and video alike; where the file's clock restarts, as in joined MPEG-TS
files, the parts follow one another. Frames are shown as a player shows them: rotated as the file's
metadata says, with square pixels, interlaced ones de-interlaced. HDR is not tone-mapped.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from emoscope.core.arrays import ByteArray
from emoscope.core.errors import MediaError
from emoscope.media.reading.animations import animated_webp, webp_durations_s
from emoscope.media.reading.container import existing, open_media, zero_s
from emoscope.media.reading.decoding import Grid, PictureReader, picture_stream
from emoscope.media.reading.headers import lacks_end_mark
from emoscope.media.reading.images import (
    is_animated,
    is_animated_webp,
    is_image,
    numbered_images,
    read_image,
)
from emoscope.media.reading.log import ReadLog
from emoscope.media.reading.pixels import Converter, shrunk

__all__ = ["Frame", "ReadLog", "VideoInfo", "probe", "read_frames"]


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded frame.

    rgb          (H, W, 3) RGB uint8, upright
    time_s       when it is shown, from the start of the file
    index        its number in display order
    duration_s   how long it is shown; 0 if the file does not say
    scale        pixels of the displayed picture a pixel of `rgb`: above 1 if it was scaled down
    """

    rgb: ByteArray
    time_s: float
    index: int
    duration_s: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a file; width and height are those of the first frame as displayed: upright,
    with square pixels."""

    path: Path
    width: int
    height: int
    fps: float = math.nan  # average; NaN if unknown
    duration_s: float = (
        math.nan
    )  # from the start of the file to the end of the video; NaN if unknown
    num_frames: int | None = None
    has_sound: bool = False
    codec: str = ""


@dataclass(frozen=True)
class _Span:
    """Which frames to read, and their maximum size."""

    rate_hz: float | None
    start_s: float
    end_s: float | None
    max_side: int | None

    def check(self, path: Path) -> None:
        if self.rate_hz is not None and not 0 < self.rate_hz < math.inf:
            raise MediaError(f"{path}: the rate must be above 0 Hz, got {self.rate_hz}.")
        if self.max_side is not None and self.max_side < 1:
            raise MediaError(f"{path}: max_side must be 1 or more, got {self.max_side}.")
        if not 0 <= self.start_s < math.inf:
            raise MediaError(f"{path}: the start must be 0 s or more, got {self.start_s}.")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise MediaError(
                f"{path}: the end ({self.end_s:g} s) is not after the start ({self.start_s:g} s)."
                " Give a later end."
            )


def probe(path: str | Path, *, image_fps: float = 25.0) -> VideoInfo:
    """Read the metadata of a video, an image or a folder of numbered images.

    The first frame is decoded to learn the rotation. Raises MediaError for a path that
    `read_frames` cannot read."""
    file = existing(path)
    if file.is_dir():
        _check_fps(file, image_fps)
        images = numbered_images(file)
        height, width = read_image(images[0]).shape[:2]
        return VideoInfo(
            file, width, height, image_fps, len(images) / image_fps, len(images), codec="images"
        )
    if is_animated_webp(file):
        durations_s = webp_durations_s(file)
        height, width = next(animated_webp(file)).shape[:2]
        count, length_s = len(durations_s), sum(durations_s)
        return VideoInfo(file, width, height, count / length_s, length_s, count, codec="webp")
    if is_image(file) and not is_animated(file):
        height, width = read_image(file).shape[:2]
        codec = file.suffix[1:].lower()
        return VideoInfo(file, width, height, duration_s=0.0, num_frames=1, codec=codec)
    with open_media(file) as container:
        return _probe_container(container, file)


def _probe_container(container: InputContainer, path: Path) -> VideoInfo:
    stream = picture_stream(container, path)
    first = next(PictureReader(container, stream, Grid(None), path).pictures(), None)
    if first is None:
        raise _no_frame(path)
    width, height = Converter(aspect=stream.sample_aspect_ratio).size(first.frame)
    fps = stream.average_rate or stream.guessed_rate
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=float(fps) if fps else math.nan,
        duration_s=_duration_s(container, stream),
        num_frames=stream.frames or None,
        has_sound=bool(container.streams.audio),
        codec=stream.codec_context.codec.canonical_name,
    )


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        end = (stream.start_time or 0) + stream.duration
        return float(end * stream.time_base) - zero_s(container)
    return math.nan if container.duration is None else container.duration / av.time_base


def read_frames(
    path: str | Path,
    *,
    rate_hz: float | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    max_side: int | None = None,
    image_fps: float = 25.0,
    log: ReadLog | None = None,
) -> Iterator[Frame]:
    """Read the frames of a video, an image or a folder of images lazily, in display order.

    Animated GIF, PNG and WebP images are videos. All images of a folder are frames, whatever
    their names; `media.reading.images.is_film` judges whether they are a sequence.

    rate_hz     keep one frame for each instant k / rate_hz (k = 0, 1, ...): the first at or after
                it; None keeps every frame
    start_s     skip frames before this time, by seeking
    end_s       stop before this time
    max_side    scale frames down so that their longer side has at most this many pixels
    image_fps   frame rate of a folder of images
    log         receives remarks on the file, such as that it is cut off

    `Frame.index` counts from the file's first frame. After a seek it is estimated as the time
    multiplied by the average frame rate, which is exact at constant rates only.

    Damaged parts are skipped, and a truncated file gives the frames it contains: see
    `ReadLog.ends_early`. Raises MediaError for a path that is missing, empty, or has no decodable
    frame, and for a span that is empty or starts after the end; ReadError if the system cannot read
    the file.

    >>> import numpy as np
    >>> from emoscope.media.video import Frame, read_frames
    >>> from emoscope.media.writer import write_video
    >>> grey = (np.full((48, 64, 3), 10 * i, np.uint8) for i in range(25))
    >>> write_video("clip.mp4", (Frame(image, i / 25, i) for i, image in enumerate(grey)))
    >>> frames = list(read_frames("clip.mp4", rate_hz=5))
    >>> [frame.time_s for frame in frames]
    [0.0, 0.2, 0.4, 0.6, 0.8]
    >>> frames[0].rgb.shape
    (48, 64, 3)
    """
    file = existing(path)
    span = _Span(rate_hz, start_s, end_s, max_side)
    span.check(file)
    if file.is_dir():
        _check_fps(file, image_fps)
        return _image_frames(file, numbered_images(file), image_fps, span)
    if is_animated_webp(file):
        return _webp_frames(file, span)
    if is_image(file) and not is_animated(file):
        return _image_frames(file, [file], 0.0, span)
    return _video_frames(file, span, ReadLog() if log is None else log)


def _image_frames(path: Path, images: list[Path], fps: float, span: _Span) -> Iterator[Frame]:
    """Read images; with fps 0, a single image at time 0."""
    period_s = 1 / fps if fps else 0.0
    _check_start(path, span.start_s, len(images) * period_s)
    grid = Grid(span.rate_hz)
    for index, image in enumerate(images):
        time_s = index / fps if fps else 0.0
        if span.end_s is not None and time_s >= span.end_s:
            return
        if grid.takes(time_s) and time_s >= span.start_s:
            whole = read_image(image)
            rgb = shrunk(whole, span.max_side)
            yield Frame(rgb, time_s, index, period_s, whole.shape[1] / rgb.shape[1])


def _webp_frames(path: Path, span: _Span) -> Iterator[Frame]:
    durations_s = webp_durations_s(path)
    _check_start(path, span.start_s, sum(durations_s))
    grid, time_s = Grid(span.rate_hz), 0.0
    for index, (whole, duration_s) in enumerate(zip(animated_webp(path), durations_s, strict=True)):
        if span.end_s is not None and time_s >= span.end_s:
            return
        if grid.takes(time_s) and time_s >= span.start_s:
            rgb = shrunk(whole, span.max_side)
            yield Frame(rgb, time_s, index, duration_s, whole.shape[1] / rgb.shape[1])
        time_s += duration_s


def _video_frames(path: Path, span: _Span, log: ReadLog) -> Iterator[Frame]:
    with open_media(path) as container:
        stream = picture_stream(container, path)
        grid = Grid(span.rate_hz)
        converter = Converter(span.max_side, stream.sample_aspect_ratio)
        reader = PictureReader(container, stream, grid, path)
        video_end_s: float | None = None
        for picture in reader.pictures(grid.instant_before(span.start_s)):
            if span.end_s is not None and picture.time_s >= span.end_s:
                log.add_restarts(reader.restarts_s)
                return
            video_end_s = picture.time_s + picture.duration_s
            if grid.takes(picture.time_s) and picture.time_s >= span.start_s:
                rgb = converter.rgb(picture.frame)
                scale = converter.size(picture.frame)[0] / rgb.shape[1]
                yield Frame(rgb, picture.time_s, picture.index, picture.duration_s, scale)
        if video_end_s is None:
            raise _no_frame(path)
        log.add_restarts(reader.restarts_s)
        log.add_end("picture", reader.end_s, reader.expected_end_s(), span.end_s)
        if lacks_end_mark(path):
            log.add_missing_end(reader.end_s)
        _check_start(path, span.start_s, video_end_s)


def _check_fps(path: Path, fps: float) -> None:
    if not 0 < fps < math.inf:
        raise MediaError(f"{path}: image_fps must be above 0, got {fps}.")


def _check_start(path: Path, start_s: float, duration_s: float) -> None:
    if start_s and start_s >= duration_s:
        raise MediaError(
            f"{path}: the start ({start_s:g} s) is past the end: it lasts {duration_s:.6g} s."
            " Give an earlier start."
        )


def _no_frame(path: Path) -> MediaError:
    return MediaError(f"{path}: no frame can be decoded. Check that the file is complete.")
