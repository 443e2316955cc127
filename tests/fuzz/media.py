"""Damaged films, pictures and sounds: reading and analysing them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
from making import Picture, make_image, make_sound, make_video
from numpy.typing import NDArray

from emoscope.analysis.analyzer import Analyzer
from emoscope.core.clipspec import ClipSpec, LogMel, Window
from emoscope.core.errors import EmoscopeError
from emoscope.core.results import Timeline
from emoscope.media.sound.audio import read_sound
from emoscope.media.video import probe, read_frames
from fuzz.harness import SOURCES, Mutant, Target
from fuzz.mutators import GENERAL, Mutator, overwrite_fields

__all__ = ["Media"]

_FPS, _FRAMES = 12, 24
_SECONDS = _FRAMES / _FPS
_LEAST_S = 0.35  # a result this much shorter is shorter: 0.25 s are tolerated, and padding adds
_LEAST_PIXELS = 0.05  # a picture of which this share differs is another one
_CLOCKS = (
    *(b"mvhd", b"tkhd", b"mdhd", b"elst", b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"stss"),
    *(b"\x2a\xd7\xb1", b"\x44\x89", b"\xe7", b"\xa3", b"\x1c\x53\xbb\x6b"),  # Matroska's
    *(b"avih", b"strh", b"strf", b"idx1", b"fmt ", b"data"),  # RIFF's
    *(b"\x00\x00\x01\xe0", b"\x00\x00\x01\xc0", b"\x00\x00\x01\xba"),  # MPEG's
    *(b"duration", b"onMetaData", b"OggS", b"fLaC", b"Xing", b"Info", b"\x21\xf9"),
    *(b"IHDR", b"IDAT", b"\xff\xc0", b"\xff\xda", b"VP8 ", b"BM", b"II*\x00"),
)


@dataclass(frozen=True)
class Seen:
    """The frames that `read_frames` returned."""

    count: int
    until_s: float
    last: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Analysed:
    """The end of a Timeline and its notes."""

    until_s: float
    notes: tuple[str, ...]


class Media(Target):
    """Small files of every common kind."""

    name = "media"
    mutators: ClassVar[Mapping[str, Mutator]] = {
        **GENERAL,
        "clock or header fields overwritten": overwrite_fields(_CLOCKS),
    }
    cases_in_ci = 1000

    def prepare(self) -> None:
        # onnx is slow to import, and the workers do without.
        from tiny_bundles import image_bundle, voice_card, write_bundle

        _make_sources(self.home / SOURCES)
        image_bundle(self.home / "image.onnx")
        hears = ClipSpec(
            streams=(LogMel(length_s=1.0, mels=16),), window=Window(length_s=1.0, stride_s=0.5)
        )
        write_bundle(self.home / "voice.onnx", voice_card(clip_spec=hears))

    @cached_property
    def _looking(self) -> Analyzer:
        return Analyzer(self.home / "image.onnx", detector="none")

    @cached_property
    def _listening(self) -> Analyzer:
        return Analyzer(self.home / "voice.onnx")

    def calls(self, path: Path) -> Mapping[str, Callable[[], Any]]:
        return {
            "probe": lambda: probe(path),
            "read_frames at 10 Hz": lambda: _seen(path, 10.0),
            "read_frames": lambda: _seen(path, None),
            "read_sound": lambda: read_sound(path).end_s,
            "analyze": lambda: _analysed(self._looking.analyze(path)),
            "analyze, by voice": lambda: _analysed(self._listening.analyze(path)),
        }

    def complaints(
        self, mutant: Mutant, results: Mapping[str, Any]
    ) -> Iterator[tuple[str, str, str]]:
        """Shorter results that nothing tells of.

        Only damage that can be noticed counts: a film or sound whose header still states the length
        of what was lost, a picture that was cut off, and a PNG, which has checksums."""
        before = self._undamaged(mutant.source)
        read_s = [part.until_s for part in results.values() if isinstance(part, Analysed)]
        for call, stream in (("analyze", "video"), ("analyze, by voice", "audio")):
            whole, part = before[call], results.get(call)
            if not isinstance(whole, Analysed) or not isinstance(part, Analysed):
                continue
            if set(part.notes) - set(whole.notes):
                continue
            if part.until_s < whole.until_s - _LEAST_S and _states(
                mutant, stream, whole.until_s, max(read_s)
            ):
                yield "shorter", call, f"{part.until_s:.2f} of {whole.until_s:.2f} s, no note"
        if _is_noticeable(mutant) and isinstance(results.get("analyze"), Analysed):
            whole, part = before["read_frames"], results.get("read_frames")
            if isinstance(part, Seen) and whole.count == part.count == 1:
                share = _difference(whole.last, part.last)
                if share > _LEAST_PIXELS and not results["analyze"].notes:
                    yield "shorter", "read_frames", f"{share:.0%} of the picture lost, no error"

    def _undamaged(self, source: Path) -> dict[str, Any]:
        if source not in self._known:
            self._known[source] = {}
            for name, call in self.calls(source).items():
                try:
                    self._known[source][name] = call()
                except EmoscopeError as error:
                    self._known[source][name] = error
        return self._known[source]

    @cached_property
    def _known(self) -> dict[Path, dict[str, Any]]:
        return {}


def _seen(path: Path, rate_hz: float | None) -> Seen:
    count, until_s, last = 0, 0.0, None
    for frame in read_frames(path, rate_hz=rate_hz):
        assert frame.rgb.dtype == np.uint8
        assert frame.rgb.ndim == 3
        assert math.isfinite(frame.time_s)
        count, until_s, last = count + 1, frame.time_s + frame.duration_s, frame.rgb
    return Seen(count, until_s, last)


def _analysed(timeline: Timeline) -> Analysed:
    assert len(timeline)
    assert np.isfinite(timeline.spans_s).all()
    return Analysed(float(timeline.spans_s[:, 1].max()), timeline.provenance.notes)


def _difference(first: Picture, second: Picture) -> float:
    """The share of pixels that differ."""
    if first.shape != second.shape:
        return 1.0
    return float(np.mean(np.any(first != second, axis=-1)))


def _is_noticeable(mutant: Mutant) -> bool:
    """Whether damage to a picture shows in the file: it is cut off, or has checksums."""
    if mutant.path.is_dir():
        return False
    is_cut_off = mutant.source.read_bytes().startswith(mutant.path.read_bytes())
    return is_cut_off or mutant.path.suffix == ".png"


def _states(mutant: Mutant, stream: str, until_s: float, read_s: float) -> bool:
    """Whether the damaged file still states its start and the length of the whole one, and truly:
    of some kinds FFmpeg estimates it from the file's size.

    Where it states that of the longest stream only, no stream may have been read up to it:
    otherwise the others may as well be shorter from the beginning."""
    stated = _stated(mutant.source)
    if stated is None or stated != _stated(mutant.path):
        return False
    _, longest_s, own_s = stated
    stated_s = own_s.get(stream)
    if stated_s is None and read_s < until_s - _LEAST_S:
        stated_s = longest_s
    return stated_s is not None and abs(stated_s - until_s) < _LEAST_S


def _stated(path: Path) -> tuple[float | None, float | None, dict[str, float | None]] | None:
    """The start and length that a container states, and the lengths of its streams, to a hundredth
    of a second; None if it cannot be opened."""

    def seconds(ticks: int | None, tick_s: Fraction | None) -> float | None:
        return None if ticks is None or tick_s is None else round(float(ticks * tick_s), 2)

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            tick_s = Fraction(1, av.time_base)
            return (
                seconds(container.start_time, tick_s),
                seconds(container.duration, tick_s),
                {one.type: seconds(one.duration, one.time_base) for one in container.streams},
            )
    except (av.FFmpegError, OSError):
        return None


@cache
def _picture(index: int) -> Picture:
    """A square that moves over a gradient, with noise so that there is something to encode."""
    y, x = np.mgrid[:48, :64]
    rgb = np.stack([x * 3, y * 4, (x + y + 5 * index) % 200], axis=-1).astype(np.float64)
    rgb[10:30, 2 * index : 2 * index + 16] = (230, 200, 60)
    rgb += np.random.default_rng(index).normal(0, 6, rgb.shape)
    return rgb.clip(0, 255).astype(np.uint8)


def _make_sources(folder: Path) -> None:
    """About two seconds each, 64 by 48 pixels."""
    folder.mkdir(parents=True)
    irregular = [index / _FPS + (0.04 if index % 3 else 0) for index in range(_FRAMES)]
    sound = {"sound_s": _SECONDS}
    h264 = {"options": {"g": "8", "threads": "1"}}
    films: dict[str, dict[str, Any]] = {
        "h264-aac.mp4": {**h264, **sound},
        "faststart.mp4": {**h264, "faststart": True},
        "irregular.mp4": {**h264, "times_s": irregular, **sound},
        "rotated.mp4": {**h264, "rotation": 90},
        "h264-pcm.mov": {**h264, **sound, "sound_codec": "pcm_s16le"},
        "h264-flac.mkv": {**h264, **sound, "sound_codec": "flac"},
        "irregular.mkv": {**h264, "times_s": irregular},
        "vp9-opus.webm": {"codec": "libvpx-vp9", **sound, "sound_codec": "libopus"},
        "vp8.webm": {"codec": "libvpx"},
        "mjpeg-pcm.avi": {
            "codec": "mjpeg",
            "pix_fmt": "yuvj420p",
            **sound,
            "sound_codec": "pcm_s16le",
        },
        "mpeg4-mp3.avi": {"codec": "mpeg4", **sound, "sound_codec": "libmp3lame"},
        "h264-aac.ts": {**h264, **sound, "offset_s": 1.4},
        "mpeg2.mpg": {"codec": "mpeg2video", "fps": 25},
        "h264-aac.flv": {**h264, **sound},
        "animated.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    }
    for name, settings in films.items():
        path = folder / name
        make_video(path, **{"num_frames": _FRAMES, "fps": _FPS, "picture": _picture, **settings})
    sounds = {
        "pcm.wav": "pcm_s16le",
        "cover.mp3": "libmp3lame",
        "aac.m4a": "aac",
        "flac.flac": "flac",
        "opus.ogg": "libopus",
    }
    for name, codec in sounds.items():
        make_sound(folder / name, seconds=_SECONDS, codec=codec, cover="cover" in name)
    for suffix in ("png", "jpg", "webp", "bmp", "tiff"):
        make_image(folder / f"picture.{suffix}", _picture(0))
    for suffix in ("png", "jpg"):
        numbered = folder / f"numbered-{suffix}"
        numbered.mkdir()
        for index in range(6):
            make_image(numbered / f"{index + 1}.{suffix}", _picture(index))
