"""Sampling points of deformable convolutions (Dai et al., ICCV 2017), in pixels of the frames."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from emoscope.core.arrays import FloatArray, IntArray
from emoscope.core.clipspec import ClipSpec
from emoscope.models import Network
from emoscope.models.deformable_sampling import Geometry, pair

__all__ = ["SamplingPoints", "sampling_points", "steps_of_frames"]


@runtime_checkable
class _Deforming(Protocol):
    """A recurrent layer with deformable steps, e.g. `GatedConvLSTM`: x (B, T', C, h, w)."""

    deformable_steps: tuple[int, ...]
    padding: int
    input_conv: nn.Conv2d
    offset_conv: nn.Conv2d

    def offsets_and_mask(self, raw: Tensor) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True, eq=False)
class SamplingPoints:
    """Sampling points of a layer, in pixels (y, x) of the input frames; a pixel's centre is a whole
    number.

    layer      its name in the network
    steps      the S deformable steps of the layer
    frames     the frames that each step covers
    points     (S, h, w, K, 2), for every position of the map and every point of the kernel
    regular    (h, w, K, 2), points of an ordinary convolution
    weights    (S, h, w, K) weights of the samples, if the convolution is modulated
    """

    layer: str
    steps: tuple[int, ...]
    frames: tuple[tuple[int, ...], ...]
    points: FloatArray
    regular: FloatArray
    weights: FloatArray | None

    @property
    def offsets_px(self) -> FloatArray:
        """(S, h, w, K) distances to the points of an ordinary convolution."""
        return np.asarray(np.linalg.norm(self.points - self.regular, axis=-1))


def sampling_points(model: Network, inputs: Mapping[str, Tensor]) -> tuple[SamplingPoints, ...]:
    """The sampling points of every layer with deformable steps, for one clip, inputs (1, ...)."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, _Deforming)}
    shapes: dict[str, torch.Size] = {}
    offsets: dict[str, Tensor] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in layers.items():

            def enter(_: Any, args: Any, name: str = name) -> None:
                shapes[name] = args[0].shape

            def leave(_: Any, __: Any, output: Tensor, name: str = name) -> None:
                offsets[name] = output

            hooks.enter_context(model.get_submodule(name).register_forward_pre_hook(enter))
            hooks.enter_context(layer.offset_conv.register_forward_hook(leave))
        if layers:
            model(**inputs)
    return tuple(
        _points(name, layer, shapes[name], offsets[name], model.clip_spec)
        for name, layer in layers.items()
    )


def steps_of_frames(frames: int, steps: int) -> IntArray:
    """(frames,) the step that covers each frame. All steps cover equally many frames, as pooling
    makes them; remaining frames belong to the last step."""
    return np.minimum(np.arange(frames) // (frames // steps), steps - 1)


def _points(
    name: str, layer: _Deforming, shape: torch.Size, raw_offsets: Tensor, spec: ClipSpec
) -> SamplingPoints:
    """Points of a layer with input (1, T', C, h, w) and offsets (S, ..., h, w)."""
    offset, mask = layer.offsets_and_mask(raw_offsets.float())
    geometry = Geometry(
        size=pair(shape[-2:]),
        kernel=pair(layer.input_conv.kernel_size),
        stride=(1, 1),
        padding=pair(layer.padding),
        dilation=(1, 1),
        groups=1,
        offset_groups=1,
    )
    y, x = (geometry.positions(axis, raw_offsets.device) for axis in (0, 1))
    both = torch.broadcast_tensors(y[:, None], x[None])  # type: ignore[no-untyped-call]
    regular = torch.stack(both, -1)  # (h, w, K, 2)
    moved = offset.unflatten(1, (geometry.points, 2)).permute(0, 3, 4, 1, 2)  # type: ignore[no-untyped-call]
    scale = torch.tensor(spec.pictures[0].size_hw) / torch.tensor(geometry.size)
    covered = steps_of_frames(spec.length, shape[1])
    return SamplingPoints(
        layer=name,
        steps=layer.deformable_steps,
        frames=tuple(tuple(np.flatnonzero(covered == t).tolist()) for t in layer.deformable_steps),
        points=_in_pixels(regular + moved, scale),
        regular=_in_pixels(regular, scale),
        weights=None if mask is None else mask.permute(0, 2, 3, 1).numpy(),
    )


def _in_pixels(positions: Tensor, scale: Tensor) -> FloatArray:
    """Pixels of a map -> pixels of the frame, `scale` of which are one pixel of the map."""
    return np.asarray(((positions + 0.5) * scale - 0.5).numpy())
