"""Incremental form of `build_clip` for sliding windows over the frames of one face.

Each frame is resized once and each flow field computed once; dynamic images are running sums.
"""

import math
from collections import deque
from typing import Protocol

import numpy as np

from emoscope.core.arrays import AnyArray, ByteArray, Float32Array, Int64Array
from emoscope.core.clipspec import ClipSpec, Offsets, Stream
from emoscope.core.errors import SpecError
from emoscope.media.motion import optical_flow
from emoscope.media.streams import check_frame, gray, normalised, resized, unit

__all__ = ["ClipStream"]

Size = tuple[int, int]  # height, width

_BYTE = 1 / 255  # bytes to [0, 1]
# Flow is summed in integer multiples of this unit, so that subtracting an old field is exact
# however long the stream. Every float32 above 1/256 px is an integer multiple of it.
_FLOW_UNIT_PX = 2.0**-32


class ClipStream:
    """Build the inputs of sliding windows from frames that arrive one at a time.

    Frames must be on the spec's time grid. The first frame pushed starts the first window. The
    inputs equal `build_clip` of the window's frames to 1e-5. Use one ClipStream per face.
    """

    def __init__(self, spec: ClipSpec) -> None:
        """Raises SpecError for a spec that is not supported, see `serves`."""
        if not self.serves(spec):
            raise SpecError(
                "A ClipStream needs image streams only, windows of sampling.length frames at "
                "rate_hz, and a stride of whole frames. Use build_clip."
            )
        self._sizes = spec.sizes
        self._flow_sizes = {s.size_hw for s in spec.pictures if s.is_flow}
        self._streams: list[tuple[Stream, _Sliding]] = [
            (stream, (_Pooled if stream.is_dynamic else _Frames)(stream, spec.length))
            for stream in spec.pictures
        ]
        self._latest: dict[Size, ByteArray] = {}
        self._stride, self._due = self.stride_of(spec), spec.length  # frames

    @staticmethod
    def stride_of(spec: ClipSpec) -> int:
        """Stride of the windows in frames of the time grid."""
        return round(spec.window.stride_s * (spec.rate_hz or 0))

    @classmethod
    def serves(cls, spec: ClipSpec) -> bool:
        """Whether the spec has image streams only and windows of `length` consecutive frames."""
        if len(spec.pictures) < len(spec.streams):
            return False
        if spec.rate_hz is None or isinstance(spec.sampling, Offsets):
            return False
        frames, stride = spec.window.length_s * spec.rate_hz, cls.stride_of(spec)
        return (
            math.isclose(frames, spec.length, rel_tol=1e-9)
            and stride >= 1
            and math.isclose(spec.window.stride_s * spec.rate_hz, stride, rel_tol=1e-9)
        )

    def push(self, frame: ByteArray) -> dict[str, Float32Array] | None:
        """Add the next frame, (H, W, 3) RGB uint8.

        Returns the inputs {stream: (T, C, H, W)} if the frame completes a window, else None.
        Raises SpecError for an invalid frame."""
        check_frame(frame)
        # Copy: a crop that needs no resizing would keep the frame it was cut from in memory.
        pictures = {size: resized(frame, size).copy() for size in self._sizes}
        previous, self._latest = self._latest, pictures
        flow = {
            size: optical_flow(np.stack([previous[size], pictures[size]]))[0]
            for size in self._flow_sizes
            if previous
        }
        for stream, sliding in self._streams:
            values = flow if stream.is_flow else pictures
            if stream.size_hw in values:
                sliding.push(values[stream.size_hw])
        self._due -= 1
        if self._due > 0:
            return None
        self._due = self._stride
        return {stream.kind: sliding.window() for stream, sliding in self._streams}


class _Sliding(Protocol):
    """One stream of a sliding window."""

    def push(self, value: AnyArray) -> None:
        """Add an image (H, W, 3) uint8 or flow field (H, W, 2); the oldest one is dropped."""
        ...

    def window(self) -> Float32Array:
        """Current values (T or 1, C, H, W), normalised."""
        ...


class _Frames:
    """A stream of frames, each normalised once, unless normalisation is per clip."""

    def __init__(self, stream: Stream, length: int) -> None:
        self._stream, self._per_clip = stream, stream.normalisation.per_clip
        self._is_flow = stream.is_flow
        self._kept: deque[Float32Array] = deque(maxlen=length - self._is_flow)

    def push(self, value: AnyArray) -> None:
        if not self._is_flow:
            value = unit(gray(value) if self._stream.kind == "gray" else value)
        self._kept.append(value[None] if self._per_clip else self._normalised(value[None]))

    def window(self) -> Float32Array:
        # The window's first field is repeated, as in `build_clip`.
        values = np.concatenate([*([self._kept[0]] if self._is_flow else []), *self._kept])
        return self._normalised(values) if self._per_clip else values

    def _normalised(self, values: Float32Array) -> Float32Array:
        return normalised(values, self._stream.normalisation)


class _Pooled:
    """A dynamic image, from running sums.

    With S0 = Σ x_t and S1 = Σ t x_t over n values, linear rank pooling of images is
    2 S1 - (n + 1) S0. Dropping x_1 means S1 -= S0, then S0 -= x_1. Flow has n = T - 1 fields, of
    which x_1 is repeated: 2 S1 - n (S0 + x_1).
    """

    def __init__(self, stream: Stream, length: int) -> None:
        self._how, self._is_flow = stream.normalisation, stream.is_flow
        self._unit = _FLOW_UNIT_PX if self._is_flow else _BYTE
        self._count = length - self._is_flow
        self._kept: deque[AnyArray] = deque()
        self._sum = np.zeros((*stream.size_hw, stream.channels), np.int64)  # S0
        self._ranked = np.zeros_like(self._sum)  # S1

    def push(self, value: AnyArray) -> None:
        if len(self._kept) == self._count:
            self._ranked -= self._sum
            self._sum -= self._as_integers(self._kept.popleft())
        self._kept.append(value)
        integers = self._as_integers(value)
        self._sum += integers
        self._ranked += len(self._kept) * integers

    def window(self) -> Float32Array:
        if self._is_flow:
            centre = self._count * (self._sum + self._as_integers(self._kept[0]))
        else:
            centre = (self._count + 1) * self._sum
        pooled = ((2 * self._ranked - centre) * self._unit).astype(np.float32)
        return normalised(pooled[None], self._how)

    def _as_integers(self, value: AnyArray) -> Int64Array:
        scaled = np.rint(value / _FLOW_UNIT_PX) if self._is_flow else value
        return scaled.astype(np.int64)
