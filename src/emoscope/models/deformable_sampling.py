"""Where a deformable convolution looks: its geometry, and bilinear sampling as bags of four pixels.

A bag is the weighted sum of rows of a table, here of the pixels around a position: one
`embedding_bag` gathers all samples, and another, its transpose, carries their gradients back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from emoscope.core.errors import SpecError

__all__ = [
    "Geometry",
    "Pair",
    "Taps",
    "Transpose",
    "by_sample",
    "gather",
    "pair",
    "products",
    "taps",
]

Pair = tuple[int, int]  # y, x


def pair(value: int | Sequence[int]) -> Pair:
    """The same in y and x, unless two are given."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@dataclass(frozen=True)
class Geometry:
    """The settings of a deformable convolution and what its tensors' shapes say.

    Raises SpecError for settings that leave nothing to compute."""

    size: Pair  # of the picture
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int  # of the weight
    offset_groups: int

    def __post_init__(self) -> None:
        if min(*self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise SpecError(
                "stride and dilation must be 1 or more, padding 0 or more; "
                f"got {self.stride}, {self.dilation} and {self.padding}."
            )
        if min(self.out) < 1:
            raise SpecError(
                f"x of {self.size} px is too small for a kernel of {self.kernel}: pad it."
            )

    @property
    def out(self) -> Pair:
        """(H', W'), as of an ordinary convolution."""
        rows, columns = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return rows, columns

    @property
    def points(self) -> int:
        """K, of the kernel."""
        return math.prod(self.kernel)

    @property
    def slices(self) -> int:
        """S, runs of channels that have both one group's offsets and one group's weights."""
        return math.lcm(self.groups, self.offset_groups)

    def positions(self, axis: int, device: torch.device) -> Tensor:
        """Undeformed y (axis 0) or x (axis 1) in px of every output and point, (H' or W', K)."""
        first = torch.arange(self.out[axis], device=device) * self.stride[axis]
        steps = torch.arange(self.kernel[axis], device=device) * self.dilation[axis]
        by_point = torch.meshgrid(
            *(steps if i == axis else steps.new_zeros(self.kernel[i]) for i in (0, 1)),
            indexing="ij",
        )[axis]
        return (first - self.padding[axis]).unsqueeze(1) + by_point.flatten()


@dataclass(frozen=True, eq=False)
class Taps:
    """The four pixels of every sample; N = B · H' · W' · S · K samples, in this order.

    rows     (N, 4) int32, of a table (B · H · W · S, channels of a slice)
    y, x     (N, 2) weights of the upper and lower, of the left and right pixels; 0 outside
    dy, dx   (N, 2) their derivatives by the position"""

    rows: Tensor
    y: Tensor
    x: Tensor
    dy: Tensor
    dx: Tensor


def gather(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """The samples (n, c) of a table (., c): rows and weights (n, 4)."""
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)


class Transpose:
    """Of `gather`: the bag of a pixel is the samples that look at it, in an order that does not
    depend on threads. Rows and weights (N, 4) of a table of `length` rows."""

    def __init__(self, rows: Tensor, weights: Tensor, length: int) -> None:
        # One sort for all pictures: of each there are as many taps, and they come one by one.
        sorted_rows, order = torch.sort(rows.flatten(), stable=True)
        pixels = torch.arange(length, dtype=rows.dtype, device=rows.device)
        self._starts = torch.searchsorted(sorted_rows, pixels, out_int32=True)
        self._samples = (order // 4).to(rows.dtype)
        self._weights = weights.flatten()[order]

    def scatter(self, samples: Tensor, which: slice, pixels: slice) -> Tensor:
        """Samples (n, c), those of some whole pictures, to these pictures' pixels (., c)."""
        taps = slice(4 * which.start, 4 * which.stop)
        return F.embedding_bag(
            self._samples[taps] - which.start,
            samples,
            self._starts[pixels] - taps.start,
            mode="sum",
            per_sample_weights=self._weights[taps],
        )


def products(y: Tensor, x: Tensor) -> Tensor:
    """Weights in y and in x (N, 2) -> of the four pixels (N, 4)."""
    return (y.unsqueeze(2) * x.unsqueeze(1)).flatten(1)


def taps(offset: Tensor, geometry: Geometry) -> Taps:
    """Of offsets (B, 2·G·K, H', W') in px."""
    (height, width), slices = geometry.size, geometry.slices
    parts = (geometry.offset_groups, geometry.points, 2)
    offset = offset.reshape(-1, *parts, *geometry.out).permute(0, 4, 5, 1, 2, 3).contiguous()
    rows = geometry.positions(0, offset.device)[:, None, None]
    columns = geometry.positions(1, offset.device)[:, None]
    y, *weights_y = _nearest(offset[..., 0] + rows, height)
    x, *weights_x = _nearest(offset[..., 1] + columns, width)
    picture = _count(len(offset), y).view(-1, 1, 1, 1, 1, 1)
    y = (y + picture * height) * (width * slices)
    pixels = _spread(y.unsqueeze(-1) + (x * slices).unsqueeze(-2), geometry)
    pixels = pixels + _count(slices, y).view(-1, 1, 1, 1)
    by_y = (by_sample(weights, geometry) for weights in weights_y)
    by_x = (by_sample(weights, geometry) for weights in weights_x)
    wy, dy, wx, dx = *by_y, *by_x
    return Taps(pixels.reshape(-1, 4), wy, wx, dy, dx)


def by_sample(values: Tensor, geometry: Geometry) -> Tensor:
    """(B, H', W', G, K, m) -> (N, m)."""
    return _spread(values, geometry).reshape(-1, values.shape[-1])


def _spread(values: Tensor, geometry: Geometry) -> Tensor:
    """(B, H', W', G, ...) -> (B, H', W', S, ...)."""
    times = geometry.slices // geometry.offset_groups
    return values if times == 1 else values.repeat_interleave(times, 3)


def _count(length: int, like: Tensor) -> Tensor:
    return torch.arange(length, dtype=like.dtype, device=like.device)


def _nearest(at: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (...) -> indices, weights and the weights' slopes (..., 2) of two pixels."""
    at = at.clamp(-2, size + 1)  # farther out is as far out
    low = at.floor()
    sides = torch.arange(2, dtype=torch.int32, device=at.device)
    indices = low.to(torch.int32).unsqueeze(-1) + sides
    inside = (indices >= 0) & (indices < size)
    part = (at - low).unsqueeze(-1)
    weights = torch.cat([1 - part, part], -1) * inside
    return indices.clamp(0, size - 1), weights, (2 * sides - 1).to(at.dtype) * inside
