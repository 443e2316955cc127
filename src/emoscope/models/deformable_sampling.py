"""Geometry and bilinear sampling of deformable convolutions.

Bilinear sampling is a weighted sum of four pixels. Pixels are rows of a table, so that one
`embedding_bag` computes all samples, and another one, its transpose, their gradients.
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
    """Return (y, x) from one value for both or from two values."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@dataclass(frozen=True)
class Geometry:
    """Settings of a deformable convolution, with those given by the shapes of its tensors.

    Raises SpecError for invalid settings and inputs smaller than the kernel."""

    size: Pair  # of the input
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
                f"x of {self.size} px is too small for a kernel of {self.kernel}: add padding."
            )

    @property
    def out(self) -> Pair:
        """Output size (H', W'), as for an ordinary convolution."""
        rows, columns = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return rows, columns

    @property
    def points(self) -> int:
        """K, the number of points of the kernel."""
        return math.prod(self.kernel)

    @property
    def slices(self) -> int:
        """S, the number of channel slices that share both offsets and weights."""
        return math.lcm(self.groups, self.offset_groups)

    def positions(self, axis: int, device: torch.device) -> Tensor:
        """Regular y (axis 0) or x (axis 1) in pixels for outputs and points, (H' or W', K)."""
        first = torch.arange(self.out[axis], device=device) * self.stride[axis]
        steps = torch.arange(self.kernel[axis], device=device) * self.dilation[axis]
        by_point = torch.meshgrid(
            *(steps if i == axis else steps.new_zeros(self.kernel[i]) for i in (0, 1)),
            indexing="ij",
        )[axis]
        return (first - self.padding[axis]).unsqueeze(1) + by_point.flatten()


@dataclass(frozen=True, eq=False)
class Taps:
    """The four pixels of every sample, N = B · H' · W' · S · K samples in this order.

    rows     (N, 4) int32: pixels as rows of a table (B · H · W · S, channels of a slice)
    y, x     (N, 2): weights of the upper and lower, left and right pixels; 0 outside the input
    dy, dx   (N, 2): derivatives of the weights with respect to the position"""

    rows: Tensor
    y: Tensor
    x: Tensor
    dy: Tensor
    dx: Tensor


def gather(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Compute samples (n, c) from a table (., c), given rows and weights (n, 4)."""
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)


class Transpose:
    """Transpose of `gather`: sums the samples that use a pixel, in a deterministic order.

    Takes the rows and weights (N, 4) of a table of `length` rows."""

    def __init__(self, rows: Tensor, weights: Tensor, length: int) -> None:
        # One sort for the whole batch: images are in order and have equally many taps.
        sorted_rows, order = torch.sort(rows.flatten(), stable=True)
        pixels = torch.arange(length, dtype=rows.dtype, device=rows.device)
        self._starts = torch.searchsorted(sorted_rows, pixels, out_int32=True)
        self._samples = (order // 4).to(rows.dtype)
        self._weights = weights.flatten()[order]

    def scatter(self, samples: Tensor, which: slice, pixels: slice) -> Tensor:
        """Sum the samples (n, c) of some whole images into the pixels (., c) of these images."""
        taps = slice(4 * which.start, 4 * which.stop)
        return F.embedding_bag(
            self._samples[taps] - which.start,
            samples,
            self._starts[pixels] - taps.start,
            mode="sum",
            per_sample_weights=self._weights[taps],
        )


def products(y: Tensor, x: Tensor) -> Tensor:
    """Multiply weights in y and x, (N, 2) each, to weights of the four pixels (N, 4)."""
    return (y.unsqueeze(2) * x.unsqueeze(1)).flatten(1)


def taps(offset: Tensor, geometry: Geometry) -> Taps:
    """Compute the taps for offsets (B, 2·G·K, H', W') in pixels."""
    (height, width), slices = geometry.size, geometry.slices
    parts = (geometry.offset_groups, geometry.points, 2)
    offset = offset.reshape(-1, *parts, *geometry.out).permute(0, 4, 5, 1, 2, 3).contiguous()
    rows = geometry.positions(0, offset.device)[:, None, None]
    columns = geometry.positions(1, offset.device)[:, None]
    y, *weights_y = _nearest(offset[..., 0] + rows, height)
    x, *weights_x = _nearest(offset[..., 1] + columns, width)
    image = _arange(len(offset), y).view(-1, 1, 1, 1, 1, 1)
    y = (y + image * height) * (width * slices)
    pixels = _per_slice(y.unsqueeze(-1) + (x * slices).unsqueeze(-2), geometry)
    pixels = pixels + _arange(slices, y).view(-1, 1, 1, 1)
    wy, dy = (by_sample(weights, geometry) for weights in weights_y)
    wx, dx = (by_sample(weights, geometry) for weights in weights_x)
    return Taps(pixels.reshape(-1, 4), wy, wx, dy, dx)


def by_sample(values: Tensor, geometry: Geometry) -> Tensor:
    """Flatten (B, H', W', G, K, m) to samples (N, m)."""
    return _per_slice(values, geometry).reshape(-1, values.shape[-1])


def _per_slice(values: Tensor, geometry: Geometry) -> Tensor:
    """Repeat values of offset groups for their slices, (B, H', W', G, ...) -> (.., S, ...)."""
    repeats = geometry.slices // geometry.offset_groups
    return values if repeats == 1 else values.repeat_interleave(repeats, 3)


def _arange(length: int, like: Tensor) -> Tensor:
    return torch.arange(length, dtype=like.dtype, device=like.device)


def _nearest(positions: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices, weights and derivatives of the weights (..., 2) of the two pixels at positions."""
    positions = positions.clamp(-2, size + 1)  # all positions farther out have zero weights too
    low = positions.floor()
    sides = torch.arange(2, dtype=torch.int32, device=positions.device)
    indices = low.to(torch.int32).unsqueeze(-1) + sides
    inside = (indices >= 0) & (indices < size)
    fraction = (positions - low).unsqueeze(-1)
    weights = torch.cat([1 - fraction, fraction], -1) * inside
    derivatives = (2 * sides - 1).to(positions.dtype) * inside
    return indices.clamp(0, size - 1), weights, derivatives
