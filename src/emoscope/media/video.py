"""Timestamped RGB frames in: from a video, one image, or a folder of numbered images.

Times come from the file's own timestamps, so a variable frame rate is right. Zero is the start of
the container, which sound and picture share. Pictures are turned as the file's metadata says.
Pixels that are not square are left as stored, interlaced pictures too, and HDR is not tone-mapped.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from emoscope.core.errors import MediaError
from emoscope.media.reading.container import existing, open_media, zero_s
from emoscope.media.reading.decoding import Grid, PictureReader, picture_stream
from emoscope.media.reading.images import is_image, numbered_images, read_image
from emoscope.media.reading.pixels import Converter, Orientation

__all__ = ["Frame", "VideoInfo", "probe", "read_frames"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture, the right way up, and when it is shown."""

    rgb: NDArray[np.uint8]  # (H, W, 3)
    time_s: float  # from the file's own start
    index: int  # number of the frame in display order
    duration_s: float = 0.0  # how long it is shown; 0 where the file does not say


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself; the picture's size is as displayed, after rotation."""

    path: Path
    width: int
    height: int
    fps: float = math.nan  # average; NaN where unknown
    duration_s: float = math.nan  # from the file's start to the picture's end; NaN where unknown
    num_frames: int | None = None
    has_sound: bool = False
    codec: str = ""


@dataclass(frozen=True)
class _Span:
    """What of a file is wanted."""

    rate_hz: float | None
    start_s: float
    end_s: float | None
    max_side: int | None

    def check(self, path: Path) -> None:
        if self.rate_hz is not None and not 0 < self.rate_hz < math.inf:
            raise MediaError(f"{path}: a rate of {self.rate_hz} Hz. Give one above 0.")
        if self.max_side is not None and self.max_side < 1:
            raise MediaError(f"{path}: a longest side of {self.max_side} px. Give 1 or more.")
        if not 0 <= self.start_s < math.inf:
            raise MediaError(f"{path}: a start of {self.start_s} s. Give 0 or more.")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise MediaError(
                f"{path}: the end ({self.end_s:g} s) is not after the start ({self.start_s:g} s)."
                " Give a later end."
            )


def probe(path: str | Path, *, image_fps: float = 25.0) -> VideoInfo:
    """Size, rate, length and sound of a video, an image or a folder of numbered images.

    The first frame is decoded, for the rotation is told with it. Raises MediaError for whatever
    `read_frames` could not read."""
    file = existing(path)
    if file.is_dir():
        _check_fps(file, image_fps)
        images = numbered_images(file)
        height, width = read_image(images[0]).shape[:2]
        return VideoInfo(
            file, width, height, image_fps, len(images) / image_fps, len(images), codec="images"
        )
    if is_image(file):
        height, width = read_image(file).shape[:2]
        codec = file.suffix[1:].lower()
        return VideoInfo(file, width, height, duration_s=0.0, num_frames=1, codec=codec)
    with open_media(file) as container:
        return _probe_container(container, file)


def _probe_container(container: InputContainer, path: Path) -> VideoInfo:
    stream = picture_stream(container, path)
    first = next(PictureReader(container, stream, Grid(None)).pictures(), None)
    if first is None:
        raise _no_frame(path)
    frame, fps = first.frame, stream.average_rate or stream.guessed_rate
    width, height = Orientation.of(frame).size(frame.width, frame.height)
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
) -> Iterator[Frame]:
    """The frames of a video, an image or a folder of images, one at a time, in display order.

    rate_hz    at most one frame an instant k / rate_hz (k = 0, 1, ...): the first one at or after
               it; None takes every frame
    start_s    frames before it are left out; the file is sought, not read, up to there
    end_s      frames at or after it are left out
    max_side   pictures with a longer side (px) are scaled down to it as they are decoded
    image_fps  how many images of a folder make a second

    `Frame.index` counts from the file's first frame; after a seek it is the time multiplied by
    the average rate, which is exact at constant rates only.

    Damaged stretches are passed over, and a file cut off in the middle gives the frames that are
    there. Raises MediaError, in one line, for a path that is missing or empty, holds no picture or
    not one frame that decodes, and for a span that is empty or starts after the end.
    """
    file = existing(path)
    span = _Span(rate_hz, start_s, end_s, max_side)
    span.check(file)
    if file.is_dir():
        _check_fps(file, image_fps)
        return _image_frames(file, numbered_images(file), image_fps, span)
    if is_image(file):
        return _image_frames(file, [file], 0.0, span)
    return _video_frames(file, span)


def _image_frames(path: Path, images: list[Path], fps: float, span: _Span) -> Iterator[Frame]:
    """A single image (fps 0) is one frame at time 0."""
    period_s = 1 / fps if fps else 0.0
    _check_start(path, span.start_s, len(images) * period_s)
    grid = Grid(span.rate_hz)
    for index, image in enumerate(images):
        time_s = index / fps if fps else 0.0
        if span.end_s is not None and time_s >= span.end_s:
            return
        if grid.takes(time_s) and time_s >= span.start_s:
            yield Frame(read_image(image, span.max_side), time_s, index, period_s)


def _video_frames(path: Path, span: _Span) -> Iterator[Frame]:
    with open_media(path) as container:
        stream = picture_stream(container, path)
        grid, converter = Grid(span.rate_hz), Converter(span.max_side)
        reader = PictureReader(container, stream, grid)
        shown_until_s: float | None = None
        for picture in reader.pictures(grid.instant_before(span.start_s)):
            if span.end_s is not None and picture.time_s >= span.end_s:
                return
            shown_until_s = picture.time_s + picture.duration_s
            if grid.takes(picture.time_s) and picture.time_s >= span.start_s:
                rgb = converter.rgb(picture.frame)
                yield Frame(rgb, picture.time_s, picture.index, picture.duration_s)
        if shown_until_s is None:
            raise _no_frame(path)
        _check_start(path, span.start_s, shown_until_s)


def _check_fps(path: Path, fps: float) -> None:
    if not 0 < fps < math.inf:
        raise MediaError(f"{path}: {fps} images a second. Give a rate above 0.")


def _check_start(path: Path, start_s: float, duration_s: float) -> None:
    if start_s and start_s >= duration_s:
        raise MediaError(
            f"{path}: the start ({start_s:g} s) is past the end: it lasts {duration_s:.6g} s."
            " Give an earlier start."
        )


def _no_frame(path: Path) -> MediaError:
    return MediaError(f"{path}: not one frame of it can be decoded. Check that it is complete.")
