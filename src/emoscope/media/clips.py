"""The only road from frames to model input: `build_clip(Clip, ClipSpec) -> {stream: float32}`."""

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
    """A stretch of video, cut to the region that the ClipSpec names.

    frames          T pictures (H, W, 3) RGB uint8; sizes may differ from frame to frame; none
                    where there is sound alone
    times_s         T time stamps, rising
    audio           mono samples (N,) in [-1, 1] of the same stretch; None where it has no sound
    sample_rate_hz  of the audio
    """

    frames: Sequence[ByteArray]
    times_s: Sequence[float] = ()
    audio: Float32Array | None = None
    sample_rate_hz: int = 16_000

    def __post_init__(self) -> None:
        if len(self.frames) == 0 and self.audio is None:
            raise SpecError("A clip needs at least one frame, or sound; got neither.")
        if self.audio is not None and (self.audio.ndim != 1 or self.audio.dtype != np.float32):
            raise SpecError(f"Sound is (N,) float32, got {self.audio.shape} of {self.audio.dtype}.")
        if len(self.times_s) not in (0, len(self.frames)):
            raise SpecError(f"{len(self.frames)} frames have {len(self.times_s)} time stamps.")
        if not all(before <= after for before, after in itertools.pairwise(self.times_s)):
            raise SpecError("A clip's time stamps must rise.")
        for frame in self.frames:
            check_frame(frame)


@dataclass(frozen=True, eq=False)
class Material:
    """What a clip's streams are made of: sized, not yet normalised. Training keeps and changes it.

    pictures   T frames (T, H, W, 3) uint8 in every size the spec asks for: {(H, W): frames}
    flow       (T, H, W, 2) pixels a frame, by size; where it is absent it is read off the pictures
    vectors    {kind: (D,), of logmel (T, mels)} of the sound; those of the frames are read off
               the pictures
    """

    pictures: Mapping[Size, ByteArray]
    flow: Mapping[Size, Float32Array] = field(default_factory=dict)
    vectors: Mapping[str, Float32Array] = field(default_factory=dict)

    def __len__(self) -> int:
        """Frames."""
        return len(next(iter(self.pictures.values()), ()))

    def take(self, indices: Int64Array) -> "Material":
        """These frames only. Flow between others than were neighbours is not known any more."""
        return Material({size: p[indices] for size, p in self.pictures.items()}, {}, self.vectors)


def build_clip(
    clip: Clip, spec: ClipSpec, rng: np.random.Generator | None = None
) -> dict[str, Float32Array]:
    """A clip as the model's named inputs, by its ClipSpec.

    Pictures come as (T, C, H, W), dynamic images with T = 1; flow repeats its first field, so that
    it has T too; vectors as (D,), logmel as (T, mels). `rng` draws temporal jitter, where the spec
    has it. Raises SpecError.
    """
    indices = grid(clip, spec)
    if spec.sampling is not None:
        indices = indices[sample_indices(spec.sampling, len(indices), rng)]
    return finish(gather(clip, spec, indices), spec)


def grid(clip: Clip, spec: ClipSpec) -> Int64Array:
    """Indices of the frames that the spec's rule chooses from: all, or those on its time grid."""
    if spec.seen and len(clip.frames) == 0:
        raise SpecError("This ClipSpec is of frames: give the clip some.")
    if spec.rate_hz is None or spec.sampling is None:
        return np.arange(len(clip.frames))
    if len(clip.times_s) == 0:
        raise SpecError(f"This ClipSpec samples at {spec.rate_hz:g} Hz: give the clip's times_s.")
    return grid_indices(clip.times_s, spec.rate_hz)


def gather(clip: Clip, spec: ClipSpec, indices: Int64Array) -> Material:
    """These frames in the sizes that the spec's streams need, and what is heard."""
    return Material(
        {size: np.stack([resized(clip.frames[i], size) for i in indices]) for size in spec.sizes},
        vectors={stream.kind: _heard(stream, clip) for stream in spec.heard},
    )


def with_flow(material: Material, spec: ClipSpec) -> Material:
    """The same with the flow fields that the spec's streams need."""
    sizes = {stream.size_hw for stream in spec.pictures if stream.is_flow}
    return replace(material, flow={size: _flow(material.pictures[size]) for size in sizes})


def finish(material: Material, spec: ClipSpec) -> dict[str, Float32Array]:
    """The spec's streams, normalised."""
    return {stream.kind: _build(stream, material) for stream in spec.streams}


def frames_needed(spec: ClipSpec) -> int:
    """How many frames (on the spec's grid) a clip must have so that none is repeated."""
    if isinstance(spec.sampling, Offsets):
        return max(-o if o < 0 else o + 1 for o in spec.sampling.offsets)
    return spec.length


def _heard(stream: Vector | LogMel, clip: Clip) -> Float32Array:
    """(D,), NaN where the clip has nothing to measure; or (T, mels), which silence has, too."""
    if isinstance(stream, LogMel):
        size = stream.steps, stream.mels
        if clip.audio is None:
            return np.full(size, FLOOR_DB, dtype=np.float32)
        return log_mel(clip.audio, clip.sample_rate_hz, *size)
    if clip.audio is None:
        return np.full(stream.dimensions, np.nan, dtype=np.float32)
    return egemaps(clip.audio, clip.sample_rate_hz)


def _vector(vector: Vector, material: Material) -> Float32Array:
    """(D,)."""
    if vector.size_hw is None:
        return np.asarray(material.vectors[vector.kind], dtype=np.float32)
    frames = material.pictures[vector.size_hw]
    return hog_klt(frames) if vector.kind == "hog_klt" else mbmic(frames)


def _build(stream: Stream | Vector | LogMel, material: Material) -> Float32Array:
    """One stream: (T, C, H, W) or (T, mels), normalised, or (D,)."""
    if isinstance(stream, Vector):
        return _vector(stream, material)
    if isinstance(stream, LogMel):
        bands = np.asarray(material.vectors[stream.kind], dtype=np.float32)
        return normalised(bands[:, None, :, None], stream.normalisation)[:, 0, 0]
    return normalised(_values(stream, material), stream.normalisation)


def _values(stream: Stream, material: Material) -> Float32Array:
    """(T or 1, H, W, C): [0, 1], pixels a frame, or what pooling leaves."""
    pictures = material.pictures[stream.size_hw]
    match stream.kind:
        case "rgb":
            return unit(pictures)
        case "gray":
            return unit(np.stack([gray(picture) for picture in pictures]))
        case "dynamic_rgb":
            return dynamic_image(pictures)[None] / np.float32(255)
    known = material.flow.get(stream.size_hw)
    flow = _flow(pictures) if known is None else known
    return flow if stream.kind == "flow" else dynamic_image(flow)[None]


def _flow(pictures: ByteArray) -> Float32Array:
    flow = optical_flow(pictures)
    return np.concatenate([flow[:1], flow])
