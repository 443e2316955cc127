"""ClipSpec: how a clip of video or audio becomes a model's named inputs.

It is the contract between training and analysis: a bundle carries it, and both halves build
their inputs from it with `media.clips`.
"""

import reprlib
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
_FRAMES_HW = (128, 128)  # frame size that descriptors are computed at
LOGMEL_HZ = 100  # rows a second


class _Frozen(BaseModel):
    # JSON has no infinity: it would be read back as null.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Uniform(_Frozen):
    """One frame from each of `length` equal segments of the clip.

    The frame is the centre of its segment. With `jitter`, and if a random generator is given, it
    is a random frame of the segment. A shorter clip repeats its last frame."""

    rule: Literal["uniform"] = "uniform"
    length: int = Field(ge=1)
    jitter: bool = False


class Last(_Frozen):
    """The last `length` consecutive frames. A shorter clip is padded in front with its first."""

    rule: Literal["last"] = "last"
    length: int = Field(ge=1)


class Offsets(_Frozen):
    """Frames at fixed indices; negative ones count from the end, as in Python.

    An index outside a short clip is clipped to its first or last frame."""

    rule: Literal["offsets"] = "offsets"
    offsets: tuple[int, ...] = Field(min_length=1)

    @property
    def length(self) -> int:
        return len(self.offsets)


Sampling = Annotated[Uniform | Last | Offsets, Field(discriminator="rule")]


class Window(_Frozen):
    """How a long video is cut into clips: one of `length_s` seconds every `stride_s` seconds."""

    length_s: float = Field(default=1.0, gt=0)
    stride_s: float = Field(default=0.5, gt=0)

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.stride_s > self.length_s:
            raise ValueError(f"stride_s must be in (0, {self.length_s}], got {self.stride_s}")
        return self


class Normalisation(_Frozen):
    """Normalisation of a stream: `(x - mean) / std` per channel.

    x is in [0, 1] for images, in pixels per frame for flow, and unscaled rank pooling for dynamic
    images.

    mean, std   one value, or one per channel
    limit       clip x to [-limit, limit] first
    per_clip    then standardise the stream of each clip to zero mean and unit variance; a
                constant stream becomes zero
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
    """An image stream, (T, C, H, W). Dynamic images have T = 1.

    kind            rgb, gray, flow (optical flow), dynamic_rgb or dynamic_flow (dynamic images)
    size_hw         height and width in pixels
    normalisation   applied to the stream
    """

    kind: StreamKind
    size_hw: tuple[int, int]
    normalisation: Normalisation = Normalisation()

    @property
    def channels(self) -> int:
        return CHANNELS[self.kind]

    @property
    def is_flow(self) -> bool:
        """True for optical flow and for its dynamic image."""
        return self.kind in ("flow", "dynamic_flow")

    @property
    def is_dynamic(self) -> bool:
        """True for dynamic images: one image for the whole clip."""
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
    """A vector stream, (D,): one descriptor of the whole clip, not normalised.

    egemaps          88 functionals of the clip's audio (`media.sound.egemaps`)
    hog_klt, mbmic   classical descriptors of its frames (`media.descriptors`)
    """

    kind: VectorKind

    @property
    def dimensions(self) -> int:
        return DIMENSIONS[self.kind]

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Size of the frames it is computed from; None for audio features."""
        return None if self.kind == "egemaps" else _FRAMES_HW


class LogMel(_Frozen):
    """A log-mel spectrogram, (T, mels): band energies in dB every 10 ms (`media.sound.logmel`).

    It covers the last `length_s` seconds of the clip; shorter audio is padded with silence in
    front. Combined with `Last` sampling of equal duration on a time grid, it is aligned with the
    frames.
    """

    kind: Literal["logmel"] = "logmel"
    length_s: float = Field(default=2.0, ge=1 / LOGMEL_HZ, le=60)
    mels: int = Field(default=64, ge=1, le=128)
    normalisation: Normalisation = Normalisation()

    @property
    def steps(self) -> int:
        """T, the number of rows."""
        return round(self.length_s * LOGMEL_HZ)

    @property
    def size_hw(self) -> None:
        """None: audio streams have no frame size."""
        return None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.normalisation.mean) > 1 or len(self.normalisation.std) > 1:
            raise ValueError("logmel takes one mean and one std")
        return self


class ClipSpec(_Frozen):
    """How frames and audio become `{stream: float32 array}`.

    region        content of the frames: a face crop, the body, or the whole frame
    margin        margin of face and body crops on each side, as a fraction of the longer side of
                  the detector's box
    align         rotate face crops so that the eyes are level, if the detector locates them
    sampling      rule that selects frames of a clip; None if no stream is made of frames
    rate_hz       resample the frames to this rate first; None keeps the video's own frames
    window        how a long video is cut into clips
    streams       the model's inputs, each named by its kind

    >>> from emoscope.core.clipspec import ClipSpec
    >>> spec = ClipSpec.from_json('''{
    ...     "sampling": {"rule": "uniform", "length": 16},
    ...     "streams": [{"kind": "rgb", "size_hw": [112, 112]}]
    ... }''')
    >>> spec.shapes()
    {'rgb': (16, 3, 112, 112)}
    >>> spec.region, spec.window.length_s
    ('face', 1.0)
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
        if bool(self.frame_streams) != (self.sampling is not None):
            raise ValueError(
                f"sampling is required if, and only if, a stream is made of frames, got {kinds}"
            )
        if self.length == 1 and any(
            stream.kind not in ("rgb", "gray") for stream in self.frame_streams
        ):
            raise ValueError(f"motion needs more than one frame, got {kinds} with length 1")
        return self

    @property
    def pictures(self) -> tuple[Stream, ...]:
        """Image streams."""
        return tuple(stream for stream in self.streams if isinstance(stream, Stream))

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """Vector streams."""
        return tuple(stream for stream in self.streams if isinstance(stream, Vector))

    @property
    def frame_streams(self) -> tuple[Stream | Vector, ...]:
        """Streams that are computed from frames."""
        candidates = (stream for stream in self.streams if not isinstance(stream, LogMel))
        return tuple(stream for stream in candidates if stream.size_hw is not None)

    @property
    def audio_streams(self) -> tuple[Vector | LogMel, ...]:
        """Streams that are computed from audio."""
        candidates = (stream for stream in self.streams if not isinstance(stream, Stream))
        return tuple(stream for stream in candidates if stream.size_hw is None)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Distinct frame sizes (H, W) that the streams need."""
        return tuple(dict.fromkeys(s.size_hw for s in self.frame_streams if s.size_hw is not None))

    @property
    def length(self) -> int:
        """Number of sampled frames; 0 if no stream is made of frames."""
        return 0 if self.sampling is None else self.sampling.length

    @property
    def is_image(self) -> bool:
        """True if the input is a single frame without audio."""
        return self.length == 1 and not self.audio_streams

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by stream: images (T, C, H, W), vectors (D,), logmel (T, mels)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for stream in self.streams:
            match stream:
                case Vector():
                    shapes[stream.kind] = (stream.dimensions,)
                case LogMel():
                    shapes[stream.kind] = (stream.steps, stream.mels)
                case Stream():
                    frames = 1 if stream.is_dynamic else self.length
                    shapes[stream.kind] = (frames, stream.channels, *stream.size_hw)
        return shapes

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Load a spec that `model_dump_json` wrote. Raises SpecError with the first problem."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SpecError(f"Invalid ClipSpec: {explain(error)}.") from None


def explain(error: ValidationError) -> str:
    """Format the first problem of a pydantic error as one line: location, reason, given value."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    given = "" if first["type"] == "missing" else f" (got {reprlib.repr(first['input'])})"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}{given}" if where else reason
