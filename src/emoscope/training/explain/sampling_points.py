"""Where a network's deformable convolutions sample (Dai et al., ICCV 2017), in frames' pixels."""

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
    """A recurrent layer with deformable steps, such as `GatedConvLSTM`: x (B, T', C, h, w)."""

    deformable_steps: tuple[int, ...]
    padding: int
    input_conv: nn.Conv2d
    offset_conv: nn.Conv2d

    def offsets_and_mask(self, found: Tensor) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True, eq=False)
class SamplingPoints:
    """Where a layer's deformable convolution samples, in pixels (y, x) of the input's frames, whose
    centres are whole numbers.

    layer      its name in the network
    steps      S of the layer's steps: those that are deformable
    frames     of each the frames that it covers
    points     (S, h, w, K, 2), of every position of the map and every point of the kernel
    regular    (h, w, K, 2), those of an ordinary convolution
    weights    (S, h, w, K) of the samples, where the convolution is modulated
    """

    layer: str
    steps: tuple[int, ...]
    frames: tuple[tuple[int, ...], ...]
    points: FloatArray
    regular: FloatArray
    weights: FloatArray | None

    @property
    def offsets_px(self) -> FloatArray:
        """(S, h, w, K): how far the points lie from those of an ordinary convolution."""
        return np.asarray(np.linalg.norm(self.points - self.regular, axis=-1))


def sampling_points(model: Network, inputs: Mapping[str, Tensor]) -> tuple[SamplingPoints, ...]:
    """Those of every layer with deformable steps, for one clip, inputs (1, ...)."""
    spec = model.clip_spec
    layers = {name: m for name, m in model.named_modules() if isinstance(m, _Deforming)}
    shapes: dict[str, torch.Size] = {}
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in layers.items():

            def enter(_: Any, given: Any, name: str = name) -> None:
                shapes[name] = given[0].shape

            def leave(_: Any, __: Any, output: Tensor, name: str = name) -> None:
                found[name] = output

            hooks.enter_context(model.get_submodule(name).register_forward_pre_hook(enter))
            hooks.enter_context(layer.offset_conv.register_forward_hook(leave))
        if layers:
            model(**inputs)
    return tuple(
        _points(name, layer, shapes[name], found[name], spec) for name, layer in layers.items()
    )


def steps_of_frames(frames: int, steps: int) -> IntArray:
    """(frames,) the step that covers each: as many frames a step, as poolings make them; a frame
    that they leave over goes with the last."""
    return np.minimum(np.arange(frames) // (frames // steps), steps - 1)


def _points(
    name: str, layer: _Deforming, shape: torch.Size, found: Tensor, spec: ClipSpec
) -> SamplingPoints:
    """Of a layer that is given (1, T', C, h, w), by its offsets (S, ..., h, w)."""
    offset, mask = layer.offsets_and_mask(found.float())
    geometry = Geometry(
        size=pair(shape[-2:]),
        kernel=pair(layer.input_conv.kernel_size),
        stride=(1, 1),
        padding=pair(layer.padding),
        dilation=(1, 1),
        groups=1,
        offset_groups=1,
    )
    y, x = (geometry.positions(axis, found.device) for axis in (0, 1))
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
    """Of a map's pixels -> of the frame's, of which `scale` make one; their centres are whole."""
    return np.asarray(((positions + 0.5) * scale - 0.5).numpy())
