"""The same as `build_clip` for windows that slide over one face's frames, without doing anything
twice: each frame is resized once, each flow field computed once, dynamic images are kept sums."""

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

_BYTE = 1 / 255  # of a picture's white
# Flow is summed in whole numbers of this part of a pixel, so that what was added is taken off again
# exactly however long the stream; a float32 above 1/256 pixel is a whole number of them.
_FLOW_UNIT_PX = 2.0**-32


class ClipStream:
    """Frames on the spec's time grid in, one at a time; a window's inputs out at every stride.

    Equal to `build_clip` of the window's frames to 1e-5. One face, one ClipStream: the first frame
    pushed begins the first window.
    """

    def __init__(self, spec: ClipSpec) -> None:
        """Raises SpecError for a spec that `serves` says no to."""
        if not self.serves(spec):
            raise SpecError(
                "A ClipStream needs windows of as many frames at rate_hz as the spec's rule takes,"
                " strides of whole frames, and no streams but pictures. Use build_clip."
            )
        self._sizes = spec.sizes
        self._flow_sizes = {s.size_hw for s in spec.pictures if s.is_flow}
        self._streams = [(stream, _sliding(stream, spec.length)) for stream in spec.pictures]
        self._latest: dict[Size, ByteArray] = {}
        self._stride, self._due = self.stride_of(spec), spec.length  # frames

    @staticmethod
    def stride_of(spec: ClipSpec) -> int:
        """Frames on the grid from the start of one window to that of the next."""
        return round(spec.window.stride_s * (spec.rate_hz or 0))

    @classmethod
    def serves(cls, spec: ClipSpec) -> bool:
        """Whether the windows of a spec are `length` neighbouring frames each, all of one grid."""
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
        """The next frame on the grid, (H, W, 3) RGB uint8 -> {stream: (T, C, H, W)} where it ends a
        window, else None. Raises SpecError for what is no frame."""
        check_frame(frame)
        # Copies: a crop of the frame's own size would keep the picture it was cut from alive.
        pictures = {size: resized(frame, size).copy() for size in self._sizes}
        before, self._latest = self._latest, pictures
        flow = {
            size: optical_flow(np.stack([before[size], pictures[size]]))[0]
            for size in self._flow_sizes
            if before
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
    """One stream of the window."""

    def push(self, value: AnyArray) -> None:
        """The next picture (H, W, 3) uint8, or flow field (H, W, 2); the oldest goes."""
        ...

    def window(self) -> Float32Array:
        """(T or 1, C, H, W), normalised."""
        ...


def _sliding(stream: Stream, length: int) -> _Sliding:
    return (_Pooled if stream.is_dynamic else _Frames)(stream, length)


class _Frames:
    """A stream of frames, each normalised once unless that takes the whole window."""

    def __init__(self, stream: Stream, length: int) -> None:
        self._stream, self._per_clip = stream, stream.normalisation.per_clip
        self._is_flow = stream.is_flow
        self._kept: deque[Float32Array] = deque(maxlen=length - self._is_flow)

    def push(self, value: AnyArray) -> None:
        if not self._is_flow:
            value = unit(gray(value) if self._stream.kind == "gray" else value)
        self._kept.append(value[None] if self._per_clip else self._normalised(value[None]))

    def window(self) -> Float32Array:
        # The window's own first field stands before it once more: there are T frames.
        values = np.concatenate([*([self._kept[0]] if self._is_flow else []), *self._kept])
        return self._normalised(values) if self._per_clip else values

    def _normalised(self, values: Float32Array) -> Float32Array:
        return normalised(values, self._stream.normalisation)


class _Pooled:
    """A dynamic image: with S0 the sum of n values x_t, and S1 that of t x_t, linear rank pooling
    of pictures is 2 S1 - (n + 1) S0. When x_1 goes, S1 falls by S0, then S0 by x_1.

    Flow has n = T - 1 fields, and x_1 counts once more as the first of T: 2 S1 - n (S0 + x_1).
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
            self._sum -= self._whole(self._kept.popleft())
        self._kept.append(value)
        whole = self._whole(value)
        self._sum += whole
        self._ranked += len(self._kept) * whole

    def window(self) -> Float32Array:
        if self._is_flow:
            others = self._count * (self._sum + self._whole(self._kept[0]))
        else:
            others = (self._count + 1) * self._sum
        pooled = ((2 * self._ranked - others) * self._unit).astype(np.float32)
        return normalised(pooled[None], self._how)

    def _whole(self, value: AnyArray) -> Int64Array:
        scaled = np.rint(value / _FLOW_UNIT_PX) if self._is_flow else value
        return scaled.astype(np.int64)
