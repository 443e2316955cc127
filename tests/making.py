"""Tiny media files for every test, made with PyAV: `from making import make_video, ...`.

A frame's grey level tells its number (modulo 24), so a test can see which frame arrived:
`number_in(frame.rgb) == 3`.
"""

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3) RGB

_TICK_S = Fraction(1, 90_000)
_STEP, _LOWEST, _CYCLE = 10, 10, 24


def grey_of(index: int) -> int:
    """The grey level of a frame."""
    return _LOWEST + _STEP * (index % _CYCLE)


def number_in(rgb: Picture) -> int:
    """The number (modulo 24) of the frame that this picture shows."""
    return round((float(np.median(rgb)) - _LOWEST) / _STEP)


def grey_picture(index: int, size_wh: tuple[int, int] = (64, 48)) -> Picture:
    width, height = size_wh
    return np.full((height, width, 3), grey_of(index), np.uint8)


def corner_picture(size_wh: tuple[int, int] = (64, 48)) -> Picture:
    """Grey, with a red top left, a green top right and a blue bottom left quarter."""
    width, height = size_wh
    rgb = np.full((height, width, 3), 128, np.uint8)
    rgb[: height // 2, : width // 2] = (220, 30, 30)
    rgb[: height // 2, width // 2 :] = (30, 200, 30)
    rgb[height // 2 :, : width // 2] = (30, 30, 220)
    return rgb


def make_video(
    path: Path,
    *,
    num_frames: int = 10,
    size_wh: tuple[int, int] = (64, 48),
    fps: int = 25,
    times_s: Sequence[float] | None = None,
    picture: Callable[[int], Picture] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: int = 0,
    hflip: bool = False,
    sound_s: float = 0.0,
    sound_codec: str = "aac",
    silent_until_s: float = 0.0,
    offset_s: float = 0.0,
    faststart: bool = False,
    aspect: Fraction = Fraction(1),
    interlaced: bool = False,
) -> Path:
    """A video whose frames tell their numbers; its kind follows from the path's suffix.

    times_s    when each frame is shown, instead of one every 1 / fps (the last lasts 1 / fps)
    picture    what frame i shows, instead of its grey level
    rotation   degrees that a player has to turn it counter-clockwise; stored as metadata
    sound_s    seconds of a 440 Hz tone beside it, from time 0 or `silent_until_s`
    offset_s   what the file's own clock shows at time 0 (MPEG-TS usually starts at 1.4 s)
    faststart  the index of an MP4 before its data: cut off, it can still be opened
    aspect     width of a pixel by its height; stored as metadata
    interlaced whether the even lines of a picture are its first field, the odd ones its second
    """
    if times_s is None:
        times_s = [index / fps for index in range(num_frames)]
    draw = picture or (lambda index: grey_picture(index, size_wh))
    height, width = draw(0).shape[:2]
    settings = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=settings) as container:
        stream = container.add_stream(codec, rate=fps, width=width, height=height)
        stream.pix_fmt = pix_fmt
        stream.options = {"bf": "0", **(options or {})} if codec == "libx264" else options or {}
        if interlaced:
            stream.options = {**stream.options, "flags": "+ildct+ilme"}
        if aspect != 1:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation or hflip:
            stream.set_display_rotation(rotation, hflip=hflip)
        if path.suffix in (".mp4", ".mov", ".mkv") and codec != "gif":
            stream.codec_context.time_base = _TICK_S
        unit_s = stream.codec_context.time_base or Fraction(1, fps)
        if sound_s:
            sound = container.add_stream(sound_codec, rate=16_000, layout="mono")
            container.mux(_encode_tone(sound, sound_s, silent_until_s, offset_s))
        container.start_encoding()  # with no frame at all, too
        for index, time_s in enumerate(times_s):
            frame = _frame(draw(index), pix_fmt)
            frame.pts, frame.time_base = round((time_s + offset_s) / unit_s), unit_s
            container.mux(_lasting(stream.encode(frame), round(1 / fps / unit_s)))
        container.mux(_lasting(stream.encode(), round(1 / fps / unit_s)))
    return path


def _frame(rgb: Picture, pix_fmt: str) -> av.VideoFrame:
    exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    return frame.reformat(format=pix_fmt, interpolation=exact)


def _lasting(packets: list[av.Packet], ticks: int) -> list[av.Packet]:
    for packet in packets:
        packet.duration = ticks
    return packets


def make_sound(
    path: Path,
    *,
    seconds: float = 1.0,
    rate_hz: int = 16_000,
    codec: str = "aac",
    cover: bool = False,
    silent_until_s: float = 0.0,
) -> Path:
    """A 440 Hz tone and no picture, or only that of its cover (in MP3)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        pictures = []
        if cover:
            art = container.add_stream("mjpeg", rate=1, width=64, height=48)
            art.pix_fmt, art.disposition = "yuvj420p", Disposition.attached_pic
            pictures = [*art.encode(_frame(corner_picture(), "yuvj420p")), *art.encode()]
        container.mux([*pictures, *_encode_tone(stream, seconds, silent_until_s)])
    return path


def _encode_tone(
    stream: av.AudioStream, seconds: float, silent_until_s: float = 0.0, offset_s: float = 0.0
) -> list[av.Packet]:
    rate_hz = stream.rate
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = (0.5 * np.sin(2 * np.pi * 440 * times_s)).astype(np.float32)
    tone[times_s < silent_until_s] = 0
    packets = []
    for start in range(0, len(tone), 1024):
        block = tone[None, start : start + 1024]
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = start + round(offset_s * rate_hz)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def make_truncated(source: Path, path: Path, fraction: float = 0.5) -> Path:
    """The first part of another file."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def make_joined(path: Path, *parts: Path) -> Path:
    """Several recordings in one file, each with a clock of its own, as after a reconnection."""
    header = 13 if path.suffix == ".flv" else 0  # of every part but the first
    rest = b"".join(part.read_bytes()[header:] for part in parts[1:])
    path.write_bytes(parts[0].read_bytes() + rest)
    return path


def make_text(path: Path) -> Path:
    """Text under whatever name."""
    path.write_text("This is no video.\n" * 40)
    return path


def make_image(path: Path, picture: Picture | None = None) -> Path:
    """An image of any kind that OpenCV writes."""
    rgb = corner_picture() if picture is None else picture
    channels = 1 if rgb.ndim == 2 else rgb.shape[2]
    order = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[channels]
    assert cv2.imwrite(str(path), rgb if order is None else cv2.cvtColor(rgb, order))
    return path


def make_image_folder(folder: Path, *, num_images: int = 12, suffix: str = ".png") -> Path:
    """Images 1, 2 ... 12, without leading zeros, that tell their numbers from 0 on."""
    folder.mkdir()
    for index in range(num_images):
        make_image(folder / f"frame{index + 1}{suffix}", grey_picture(index))
    return folder


def make_animation(path: Path, durations_ms: Sequence[int], *, alpha: bool = False) -> Path:
    """An animated PNG, WebP or GIF whose frames tell their numbers."""
    animation = cv2.Animation()
    pictures = [grey_picture(index) for index in range(len(durations_ms))]
    opaque = np.full((*pictures[0].shape[:2], 1), 255, np.uint8)
    animation.frames = [np.dstack([p, opaque]) if alpha else p for p in pictures]
    animation.durations = np.array(durations_ms)
    assert cv2.imwriteanimation(str(path), animation)
    return path


def with_exif_orientation(jpeg: Path, orientation: int) -> Path:
    """Store an EXIF orientation (1 to 8) in a JPEG."""
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + tiff
    data = jpeg.read_bytes()
    jpeg.write_bytes(
        data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    )
    return jpeg
