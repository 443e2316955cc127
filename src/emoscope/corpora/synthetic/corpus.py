"""Synthetic corpora of drawn people, for tests, tutorials and controlled comparisons.

Nothing here is a recording, and results on it are marked as synthetic. Some classes share their
apex and differ only in dynamics: "gradual" is the time reversal of "sudden". Everything else in a
clip has the same distribution in both, so that no single frame distinguishes them. Other classes
look the same and sound different.

faces      smile and frown, each sudden and gradual; gape, warm and harsh. Smiles have a warm voice,
           frowns a harsh one. A single frame shows which of the three apexes it is, the sound
           distinguishes warm from harsh, the dynamics sudden from gradual. All six classes together
           need motion and sound.
figures    raise (of the arms) and slump, each sudden and gradual, while walking. Raise has a harsh
           voice, slump a warm one. The gait always runs forwards: the order of frames shows a
           reversal, a single frame does not.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from emoscope.core.arrays import FloatArray, Picture
from emoscope.core.errors import CorpusError
from emoscope.core.registry import Registry
from emoscope.corpora.manifest import SYNTHETIC, Manifest, Sample
from emoscope.corpora.synthetic.faces import draw_face
from emoscope.corpora.synthetic.figures import draw_figure
from emoscope.corpora.synthetic.motion import FPS, Acting, Dynamics, Style, act
from emoscope.corpora.synthetic.sound import (
    RATE_HZ,
    Voice,
    draw_voice,
    footsteps,
    mixed,
    speech,
)
from emoscope.media.files import replacing

__all__ = ["KINDS", "Kind", "Part", "Person", "synthesise"]

Sound = npt.NDArray[np.float32]  # (N,) at RATE_HZ

# The same pictures must give the same bytes. With several threads, or with x264's macroblock tree,
# they do not always (measured: a few small clips in a hundred).
_QUALITY = {"crf": "23", "preset": "veryfast", "bf": "0", "threads": "1", "mbtree": "0"}
_SOUND_BITS_HZ, _BLOCK = 64_000, 1024
_PERSON, _ACTING, _PICTURE, _SOUND = range(1, 5)  # purposes of random generators


class Person(Protocol):
    """A person that can be drawn."""

    @property
    def groups(self) -> dict[str, str]:
        """Groups for the manifest."""

    def film(self, rng: np.random.Generator, acting: Acting, size_px: int) -> Iterator[Picture]:
        """The frames of a clip: (size_px, size_px, 3) each."""

    def steps_s(self, acting: Acting) -> FloatArray:
        """Times of the footsteps."""


@dataclass(frozen=True)
class Part:
    """The performance that a label stands for."""

    apex: str
    dynamics: Dynamics
    style: Style


@dataclass(frozen=True)
class Kind:
    """One kind of synthetic corpus."""

    draw: Callable[[np.random.Generator], Person]
    parts: Mapping[str, Part]  # by label, sorted


KINDS: Registry[Kind] = Registry("kind of synthetic corpus")
KINDS.add(
    "faces",
    Kind(
        draw_face,
        {
            "frown-gradual": Part("frown", "gradual", "harsh"),
            "frown-sudden": Part("frown", "sudden", "harsh"),
            "gape-harsh": Part("gape", "even", "harsh"),
            "gape-warm": Part("gape", "even", "warm"),
            "smile-gradual": Part("smile", "gradual", "warm"),
            "smile-sudden": Part("smile", "sudden", "warm"),
        },
    ),
)
KINDS.add(
    "figures",
    Kind(
        draw_figure,
        {
            "raise-gradual": Part("raise", "gradual", "harsh"),
            "raise-sudden": Part("raise", "sudden", "harsh"),
            "slump-gradual": Part("slump", "gradual", "warm"),
            "slump-sudden": Part("slump", "sudden", "warm"),
        },
    ),
)


@dataclass(frozen=True)
class _Settings:
    """Settings that all clips of a folder share."""

    kind: str
    seconds: float
    size_px: int
    seed: int

    def rng(self, purpose: int, subject: int, label: int = 0, clip: int = 0) -> np.random.Generator:
        """A random generator that depends only on its arguments, not on the order of the clips."""
        kind = list(KINDS).index(self.kind)
        # Always the same count of numbers: to numpy (1, 2) and (1, 2, 0) are one seed.
        return np.random.default_rng((self.seed, kind, purpose, subject, label, clip))


def synthesise(
    folder: Path,
    *,
    kind: str = "faces",
    subjects: int = 10,
    clips: int = 4,
    seconds: float = 2.0,
    size_px: int = 128,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Manifest:
    """Draw a synthetic corpus: `SUBJECT/LABEL/N.mp4` in a folder, with `manifest.csv`.

    kind      a name in KINDS
    clips     number of clips per label and subject
    seconds   length of a clip, at 25 frames a second
    size_px   side of the square frames, an even number
    progress  called after each clip with the number of clips that exist, and of all

    The same settings give the same clips, byte for byte. Existing clips are kept: an interrupted
    run continues, and a run with more subjects or clips adds to the folder. The folder may be
    moved: the paths in its manifest are relative. Raises UnknownName for another kind, CorpusError
    for invalid settings or settings that differ from those of the clips in the folder, MediaError
    for a folder that cannot be written.
    """
    labels = tuple(KINDS[kind].parts)
    settings = _Settings(kind, seconds, size_px, seed)
    _check(settings, subjects, clips)
    _claim(folder, settings)
    samples: list[Sample] = []
    for sample in _samples(folder, settings, subjects, clips):
        samples.append(sample)
        if progress is not None:
            progress(len(samples), subjects * len(labels) * clips)
    manifest = Manifest(f"synthetic-{kind}", labels, tuple(samples))
    manifest.write(folder / "manifest.csv")
    return manifest


def _samples(folder: Path, settings: _Settings, subjects: int, clips: int) -> Iterator[Sample]:
    """Draw the missing clips, and yield the sample of each clip as soon as it exists."""
    for subject in range(subjects):
        name = f"S{subject + 1:03d}"
        person, voice = _cast(settings, subject)
        groups = {**person.groups, "voice": voice.register}
        for label, clip in product(KINDS[settings.kind].parts, range(clips)):
            path = folder / name / label / f"{clip + 1}.mp4"
            if not path.exists():
                _make(path, settings, subject, label, clip)
            yield Sample(path, label, name, groups=groups)


def _check(settings: _Settings, subjects: int, clips: int) -> None:
    for name, value, low, high in (
        ("subjects", subjects, 2, 999),
        ("clips", clips, 1, 9999),
        ("seconds", settings.seconds, 0.5, 60.0),
        ("size_px", settings.size_px, 32, 1024),
        ("seed", settings.seed, 0, 2**63),
    ):
        if not low <= value <= high:  # true for NaN, too
            raise CorpusError(f"{name} = {value}: choose a value from {low:g} to {high:g}.")
    if settings.size_px % 2:
        raise CorpusError(f"size_px = {settings.size_px}: H.264 needs an even number.")


def _claim(folder: Path, settings: _Settings) -> None:
    """Write the settings to the folder. Raises CorpusError if it has clips of other settings."""
    path = folder / SYNTHETIC
    wanted = asdict(settings)
    if not path.exists():
        with replacing(path) as part:
            part.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    try:
        present = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}). Choose another folder.") from None
    if present != wanted:
        raise CorpusError(
            f"{path}: the folder holds clips made with {present}, not {wanted}. "
            "Choose another folder, or use the same settings."
        )


def _cast(settings: _Settings, subject: int) -> tuple[Person, Voice]:
    rng = settings.rng(_PERSON, subject)
    return KINDS[settings.kind].draw(rng), draw_voice(rng)


def _make(path: Path, settings: _Settings, subject: int, label: str, clip: int) -> None:
    """Draw one clip with its sound and write it."""
    parts = KINDS[settings.kind].parts
    part, place = parts[label], (subject, list(parts).index(label), clip)
    person, voice = _cast(settings, subject)
    acting = act(settings.rng(_ACTING, *place), part.apex, part.dynamics, settings.seconds)
    pictures = person.film(settings.rng(_PICTURE, *place), acting, settings.size_px)
    rng, length_s = settings.rng(_SOUND, *place), len(acting.times_s) / FPS
    voiced = speech(rng, voice, part.style, acting.syllables, length_s)
    steps = footsteps(rng, person.steps_s(acting), length_s)
    with replacing(path) as unfinished:
        _encode(unfinished, pictures, mixed(rng, voiced, steps), settings.size_px)


def _encode(path: Path, pictures: Iterable[Picture], sound: Sound, size_px: int) -> None:
    """Write an MP4 file: H.264 video and AAC sound."""
    with av.open(str(path.absolute()), "w", format="mp4") as output:
        video = output.add_stream(
            "libx264", rate=FPS, width=size_px, height=size_px, options=_QUALITY
        )
        video.pix_fmt = "yuv420p"
        video.codec_context.colorspace = Colorspace.ITU709
        video.codec_context.color_range = ColorRange.MPEG
        audio = output.add_stream("aac", rate=RATE_HZ, layout="mono", bit_rate=_SOUND_BITS_HZ)
        _encode_pictures(output, video, pictures)
        _encode_sound(output, audio, sound)


def _encode_pictures(
    output: OutputContainer, stream: VideoStream, pictures: Iterable[Picture]
) -> None:
    reformatter = VideoReformatter()  # slow to create, so one for all frames
    for number, rgb in enumerate(pictures):
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(rgb, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        output.mux(stream.encode(frame))
    output.mux(stream.encode())


def _encode_sound(output: OutputContainer, stream: AudioStream, sound: Sound) -> None:
    for start in range(0, len(sound), _BLOCK):
        block = np.ascontiguousarray(sound[None, start : start + _BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
