"""From frames and audio to model inputs: `build_clip(Clip, ClipSpec) -> {stream: float32}`."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emoscope.core.arrays import ByteArray, Float32Array, Int64Array
from emoscope.core.clipspec import ClipSpec, LogMel, Offsets, Stream, Vector
from emoscope.core.errors import SpecError
from emoscope.media.descriptors import hog_klt, mbmic
from emoscope.media.motion import dynamic_image, optical_flow
from emoscope.media.sampling import grid_indices, sample_indices
from emoscope.media.sound.egemaps import egemaps
from emoscope.media.sound.logmel import FLOOR_DB, log_mel
from emoscope.media.streams import check_frame, gray, normalised, resized, unit

__all__ = [
    "Clip",
    "Material",
    "build_clip",
    "finish",
    "frames_needed",
    "gather",
    "grid",
    "with_flow",
]

Size = tuple[int, int]  # height, width


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip of video or audio, cropped to the region that the ClipSpec names.

    frames           T images (H, W, 3) RGB uint8, possibly of different sizes; empty if the clip
                     is audio only
    times_s          T timestamps in non-decreasing order
    audio            mono samples (N,) float32 in [-1, 1] of the same time span; None without audio
    sample_rate_hz   sample rate of the audio

    Raises SpecError for invalid frames, audio or timestamps.

    >>> faces = [np.zeros((48, 48, 3), np.uint8)] * 4
    >>> clip = Clip(faces, times_s=[0.0, 0.1, 0.2, 0.3])
    """

    frames: Sequence[ByteArray]
    times_s: Sequence[float] = ()
    audio: Float32Array | None = None
    sample_rate_hz: int = 16_000

    def __post_init__(self) -> None:
        if len(self.frames) == 0 and self.audio is None:
            raise SpecError("A clip needs at least one frame or audio, got neither.")
        if self.audio is not None and (self.audio.ndim != 1 or self.audio.dtype != np.float32):
            raise SpecError(
                f"Audio must be (N,) float32, got {self.audio.shape} {self.audio.dtype}."
            )
        if len(self.times_s) not in (0, len(self.frames)):
            raise SpecError(
                f"times_s needs one entry per frame: {len(self.frames)}, got {len(self.times_s)}."
            )
        if not all(before <= after for before, after in itertools.pairwise(self.times_s)):
            raise SpecError("times_s must be numbers that do not decrease.")
        for frame in self.frames:
            check_frame(frame)


@dataclass(frozen=True, eq=False)
class Material:
    """Intermediate form of a clip: resized, not yet normalised. Training caches and augments it.

    pictures   {(H, W): frames (T, H, W, 3) uint8}, for each size that the spec needs
    flow       {(H, W): flow (T, H, W, 2) in pixels per frame}; computed from the pictures if absent
    vectors    {kind: (D,) or, for logmel, (T, mels)} of the audio streams; vectors of frames are
               computed from the pictures
    """

    pictures: Mapping[Size, ByteArray]
    flow: Mapping[Size, Float32Array] = field(default_factory=dict)
    vectors: Mapping[str, Float32Array] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(next(iter(self.pictures.values()), ()))

    def take(self, indices: Int64Array) -> "Material":
        """Select frames. Flow is dropped, as neighbouring frames may have changed."""
        return Material({size: p[indices] for size, p in self.pictures.items()}, {}, self.vectors)


def build_clip(
    clip: Clip, spec: ClipSpec, rng: np.random.Generator | None = None
) -> dict[str, Float32Array]:
    """Convert a clip to a model's inputs {stream: float32 array}.

    Image streams are (T, C, H, W): dynamic images have T = 1, and flow repeats its first field to
    have T fields. Vectors are (D,), logmel (T, mels).

    rng   draws temporal jitter, if the spec has it; None samples without jitter

    Raises SpecError for a clip that lacks what the spec needs.

    >>> import numpy as np
    >>> from emoscope.core.clipspec import ClipSpec, Stream, Uniform
    >>> from emoscope.media.clips import Clip, build_clip
    >>> clip = Clip([np.full((120, 100, 3), value, np.uint8) for value in range(40)])
    >>> spec = ClipSpec(
    ...     sampling=Uniform(length=8),
    ...     streams=(Stream(kind="rgb", size_hw=(64, 64)), Stream(kind="flow", size_hw=(32, 32))),
    ... )
    >>> {stream: array.shape for stream, array in build_clip(clip, spec).items()}
    {'rgb': (8, 3, 64, 64), 'flow': (8, 2, 32, 32)}
    """
    indices = grid(clip, spec)
    if spec.sampling is not None:
        indices = indices[sample_indices(spec.sampling, len(indices), rng)]
    return finish(gather(clip, spec, indices), spec)


def grid(clip: Clip, spec: ClipSpec) -> Int64Array:
    """Indices of the frames to sample from: all, or those on the spec's time grid (`rate_hz`)."""
    if spec.frame_streams and len(clip.frames) == 0:
        raise SpecError("This ClipSpec needs frames, and the clip has none.")
    if spec.rate_hz is None or spec.sampling is None:
        return np.arange(len(clip.frames))
    if len(clip.times_s) == 0:
        raise SpecError(f"This ClipSpec samples at {spec.rate_hz:g} Hz: set the clip's times_s.")
    return grid_indices(clip.times_s, spec.rate_hz)


def gather(clip: Clip, spec: ClipSpec, indices: Int64Array) -> Material:
    """Resize the frames at `indices` to the sizes the spec needs; compute the audio streams."""
    return Material(
        {size: np.stack([resized(clip.frames[i], size) for i in indices]) for size in spec.sizes},
        vectors={stream.kind: _audio_stream(stream, clip) for stream in spec.audio_streams},
    )


def with_flow(material: Material, spec: ClipSpec) -> Material:
    """Add the flow fields that the spec's streams need."""
    sizes = {stream.size_hw for stream in spec.pictures if stream.is_flow}
    return replace(material, flow={size: _flow(material.pictures[size]) for size in sizes})


def finish(material: Material, spec: ClipSpec) -> dict[str, Float32Array]:
    """Compute the spec's streams and normalise them."""
    return {stream.kind: _build(stream, material) for stream in spec.streams}


def frames_needed(spec: ClipSpec) -> int:
    """Number of frames, on the spec's time grid, below which sampling repeats a frame."""
    if isinstance(spec.sampling, Offsets):
        return max(-i if i < 0 else i + 1 for i in spec.sampling.offsets)
    return spec.length


def _audio_stream(stream: Vector | LogMel, clip: Clip) -> Float32Array:
    """egemaps (D,), NaN without audio; logmel (T, mels), the floor without audio."""
    if isinstance(stream, LogMel):
        size = stream.steps, stream.mels
        if clip.audio is None:
            return np.full(size, FLOOR_DB, dtype=np.float32)
        return log_mel(clip.audio, clip.sample_rate_hz, *size)
    if clip.audio is None:
        return np.full(stream.dimensions, np.nan, dtype=np.float32)
    return egemaps(clip.audio, clip.sample_rate_hz)


def _build(stream: Stream | Vector | LogMel, material: Material) -> Float32Array:
    """One stream: normalised (T, C, H, W) or (T, mels), or a vector (D,)."""
    if isinstance(stream, Vector):
        if stream.size_hw is None:
            return np.asarray(material.vectors[stream.kind], dtype=np.float32)
        frames = material.pictures[stream.size_hw]
        return hog_klt(frames) if stream.kind == "hog_klt" else mbmic(frames)
    if isinstance(stream, LogMel):
        bands = np.asarray(material.vectors[stream.kind], dtype=np.float32)
        return normalised(bands[:, None, :, None], stream.normalisation)[:, 0, 0]
    return normalised(_values(stream, material), stream.normalisation)


def _values(stream: Stream, material: Material) -> Float32Array:
    """Unnormalised values (T or 1, H, W, C); units as in `Normalisation`."""
    pictures = material.pictures[stream.size_hw]
    match stream.kind:
        case "rgb":
            return unit(pictures)
        case "gray":
            return unit(np.stack([gray(picture) for picture in pictures]))
        case "dynamic_rgb":
            return dynamic_image(pictures)[None] / np.float32(255)
    cached = material.flow.get(stream.size_hw)
    flow = _flow(pictures) if cached is None else cached
    return dynamic_image(flow)[None] if stream.is_dynamic else flow


def _flow(pictures: ByteArray) -> Float32Array:
    """(T, H, W, 3) -> (T, H, W, 2); the first field is repeated."""
    flow = optical_flow(pictures)
    return np.concatenate([flow[:1], flow])
