"""ClipSpec: how a stretch of video becomes a model's named inputs.

The contract between training and analysis. It travels inside the bundle, and `media.clips`
is the only code that carries it out, so what was trained is what runs.
"""

import reprlib
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emoscope.core.errors import SpecError

__all__ = [
    "CHANNELS",
    "DIMENSIONS",
    "LOGMEL_HZ",
    "ClipSpec",
    "Last",
    "LogMel",
    "Normalisation",
    "Offsets",
    "Sampling",
    "Stream",
    "StreamKind",
    "Uniform",
    "Vector",
    "VectorKind",
    "Window",
    "explain",
]

StreamKind = Literal["rgb", "gray", "flow", "dynamic_rgb", "dynamic_flow"]
VectorKind = Literal["egemaps", "hog_klt", "mbmic"]
Region = Literal["face", "body", "frame"]

CHANNELS: dict[StreamKind, int] = {
    "rgb": 3,
    "gray": 1,
    "flow": 2,
    "dynamic_rgb": 3,
    "dynamic_flow": 2,
}
DIMENSIONS: dict[VectorKind, int] = {"egemaps": 88, "hog_klt": 624, "mbmic": 384}
_FRAMES_HW = (128, 128)  # of those that descriptors are read off
LOGMEL_HZ = 100  # rows a second


class _Frozen(BaseModel):
    # JSON has no infinity: it would come back as nothing.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Uniform(_Frozen):
    """`length` frames, one from each of as many equal segments of the clip: its centre, or with
    `jitter` a random one when a generator is given. A shorter clip repeats its last frame."""

    rule: Literal["uniform"] = "uniform"
    length: int = Field(ge=1)
    jitter: bool = False


class Last(_Frozen):
    """The last `length` consecutive frames. A shorter clip repeats its first frame in front."""

    rule: Literal["last"] = "last"
    length: int = Field(ge=1)


class Offsets(_Frozen):
    """The frames at these indices; negative ones count from the end, as in Python. One that a
    short clip does not reach becomes its nearest end."""

    rule: Literal["offsets"] = "offsets"
    offsets: tuple[int, ...] = Field(min_length=1)

    @property
    def length(self) -> int:
        return len(self.offsets)


Sampling = Annotated[Uniform | Last | Offsets, Field(discriminator="rule")]


class Window(_Frozen):
    """How a long video is cut into clips: `length_s` seconds every `stride_s` seconds."""

    length_s: float = Field(default=1.0, gt=0)
    stride_s: float = Field(default=0.5, gt=0)

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.stride_s > self.length_s:
            raise ValueError(f"stride_s must be in (0, {self.length_s}], got {self.stride_s}")
        return self


class Normalisation(_Frozen):
    """`(x - mean) / std` a channel, after `limit` and, if asked, after each clip's own statistics.

    x is in [0, 1] for pictures, in pixels a frame for flow, as rank pooling leaves it for dynamic
    images. `limit` first clips x to [-limit, limit]. `per_clip` standardises the whole stream of
    one clip to zero mean and unit variance (a constant one becomes zero).
    """

    mean: tuple[float, ...] = Field(default=(0.0,), min_length=1)
    std: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    limit: float | None = Field(default=None, gt=0)
    per_clip: bool = False

    @model_validator(mode="after")
    def _invertible(self) -> Self:
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self


class Stream(_Frozen):
    """Pictures as a model's input: what is in them, their size in pixels, their normalisation."""

    kind: StreamKind
    size_hw: tuple[int, int]
    normalisation: Normalisation = Normalisation()

    @property
    def channels(self) -> int:
        return CHANNELS[self.kind]

    @property
    def is_flow(self) -> bool:
        """True for optical flow and dynamic images of it."""
        return self.kind in ("flow", "dynamic_flow")

    @property
    def is_dynamic(self) -> bool:
        """True for dynamic images, which summarise a clip in one image."""
        return self.kind in ("dynamic_rgb", "dynamic_flow")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if min(self.size_hw) < 1:
            raise ValueError(f"size_hw must be positive, got {self.size_hw}")
        for name in ("mean", "std"):
            count = len(getattr(self.normalisation, name))
            if count not in (1, self.channels):
                raise ValueError(
                    f"{self.kind} has {self.channels} channels, {name} has {count} values"
                )
        return self


class Vector(_Frozen):
    """Numbers that describe a whole clip, as they are measured: a model scales them itself.

    egemaps          88 functionals of the clip's sound (`media.sound.egemaps`)
    hog_klt, mbmic   classical descriptors of its frames (`media.descriptors`)
    """

    kind: VectorKind

    @property
    def dimensions(self) -> int:
        return DIMENSIONS[self.kind]

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Of the frames that it is read off; None: it is of the sound."""
        return None if self.kind == "egemaps" else _FRAMES_HW


class LogMel(_Frozen):
    """Sound as a picture of bands over time, (T, mels): the energy of each band every 10 ms
    (`media.sound.logmel`), in dB before the normalisation.

    It is of the last `length_s` seconds; shorter sound has silence before it. So does `last` choose
    frames: with it, and as many seconds of frames on a time grid, the two run side by side.
    """

    kind: Literal["logmel"] = "logmel"
    length_s: float = Field(default=2.0, ge=1 / LOGMEL_HZ, le=60)
    mels: int = Field(default=64, ge=1, le=128)
    normalisation: Normalisation = Normalisation()

    @property
    def steps(self) -> int:
        """T."""
        return round(self.length_s * LOGMEL_HZ)

    @property
    def size_hw(self) -> None:
        """None, as of all that is heard."""
        return None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.normalisation.mean) > 1 or len(self.normalisation.std) > 1:
            raise ValueError("logmel is normalised by one mean and one std")
        return self


class ClipSpec(_Frozen):
    """How frames and sound become `{stream: float32 array}`.

    region        what the frames show: a face crop, the body, or the whole frame
    margin        face and body crops are squares this much wider than the detector's box, on each
                  side, as a fraction of the box's longer side
    align         turn face crops so that the eyes are level, where the detector gives them
    sampling      which frames of a clip are used; None where no stream is made of frames
    rate_hz       the time grid frames are taken on first; None keeps the video's own frames
    window        how a long video is cut into clips
    streams       the model's inputs, each under the name of its kind
    """

    region: Region = "face"
    margin: float = Field(default=0.0, ge=-0.25, le=2.0)
    align: bool = False
    sampling: Sampling | None = None
    rate_hz: float | None = Field(default=None, gt=0)
    window: Window = Window()
    streams: tuple[Annotated[Stream | Vector | LogMel, Field(discriminator="kind")], ...] = Field(
        min_length=1
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        kinds = [stream.kind for stream in self.streams]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"each stream may occur once, got {kinds}")
        if bool(self.seen) != (self.sampling is not None):
            raise ValueError(f"sampling is for frames, and frames need it, got {kinds}")
        if self.length == 1 and any(stream.kind not in ("rgb", "gray") for stream in self.seen):
            raise ValueError(f"motion needs more than one frame, got {kinds} with length 1")
        return self

    @property
    def pictures(self) -> tuple[Stream, ...]:
        """The streams that are pictures."""
        return tuple(stream for stream in self.streams if isinstance(stream, Stream))

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """The streams that are one vector a clip."""
        return tuple(stream for stream in self.streams if isinstance(stream, Vector))

    @property
    def seen(self) -> tuple[Stream | Vector, ...]:
        """The streams that are made of frames."""
        made_of_any = (stream for stream in self.streams if not isinstance(stream, LogMel))
        return tuple(stream for stream in made_of_any if stream.size_hw is not None)

    @property
    def heard(self) -> tuple[Vector | LogMel, ...]:
        """The streams that are made of sound."""
        no_pictures = (stream for stream in self.streams if not isinstance(stream, Stream))
        return tuple(stream for stream in no_pictures if stream.size_hw is None)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) that frames are needed in, each once."""
        return tuple(dict.fromkeys(s.size_hw for s in self.seen if s.size_hw is not None))

    @property
    def length(self) -> int:
        """Frames a clip; 0 where no stream is made of frames."""
        return 0 if self.sampling is None else self.sampling.length

    @property
    def is_image(self) -> bool:
        """True for models that look at one frame at a time, and do not listen."""
        return self.length == 1 and not self.heard

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(T, C, H, W) of every stream of pictures, (D,) of every vector, (T, mels) of logmel."""
        return {stream.kind: self._shape(stream) for stream in self.streams}

    def _shape(self, stream: Stream | Vector | LogMel) -> tuple[int, ...]:
        if isinstance(stream, Vector):
            return (stream.dimensions,)
        if isinstance(stream, LogMel):
            return stream.steps, stream.mels
        frames = 1 if stream.is_dynamic else self.length
        return frames, stream.channels, *stream.size_hw

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `model_dump_json` wrote. Raises SpecError with the first thing wrong."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SpecError(f"ClipSpec: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """The first complaint of a pydantic error, in one line: where, what, what was given."""
    first = error.errors(include_url=False)[0]
    where = _dotted(first["loc"])
    given = "" if first["type"] == "missing" else f" (got {reprlib.repr(first['input'])})"
    return f"{where}: {first['msg']}{given}" if where else f"{first['msg']}"


def _dotted(loc: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in loc)
