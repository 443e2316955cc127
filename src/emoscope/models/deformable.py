"""Deformable convolution: every point of the kernel looks where an offset of its own sends it.

Dai et al., "Deformable Convolutional Networks", ICCV 2017; with a mask Zhu et al., "Deformable
ConvNets v2", CVPR 2019:  y(p) = Σ_k w_k · x(p + p_k + Δp_k) · Δm_k, where x is read bilinearly and
is zero outside the picture.

Samples are gathered into columns, which one matrix product turns into the output: a few pictures at
a time, so that columns stay in the cache. Backwards they are gathered again, which is far cheaper
than to keep them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from emoscope.core.errors import SpecError
from emoscope.models.deformable_sampling import (
    Geometry,
    Pair,
    Taps,
    Transpose,
    by_sample,
    gather,
    pair,
    products,
    taps,
)

__all__ = ["deform_conv2d", "onnx_translations"]

_COLUMN_BYTES = 2**24  # about, of the pictures that are worked on at once


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Deformable convolution -> (B, O, H', W') as `conv2d`'s, of x's memory format.

    x        (B, C, H, W)
    offset   (B, 2·G·K, H', W') px: (y, x) of each of the K = kh·kw points, for each of G groups of
             channels, as in ONNX and torchvision
    weight   (O, C / groups, kh, kw)
    bias     (O,)
    mask     (B, G·K, H', W'), a factor of every sample: the second version

    Differentiable, once, in all five. Positions and samples are float32 though x be of half
    precision. Raises SpecError for shapes and types that do not fit."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        kind = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
    exact = torch.promote_types(x.dtype, torch.float32)
    offset, mask = offset.to(exact), None if mask is None else mask.to(exact)
    steps = (pair(stride), pair(padding), pair(dilation))
    _check(x, offset, weight, bias, mask, _geometry(x, offset, weight, *steps))
    return _deform_conv2d(x, offset, weight, bias, mask, *steps)


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For `torch.onnx.export(custom_translation_table=...)`: ONNX's DeformConv, which opset 19 and
    later have."""
    from onnxscript import opset19

    def deform_conv(  # the exporter's own values
        x: Any,
        offset: Any,
        weight: Any,
        bias: Any,
        mask: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
    ) -> Any:
        channels, (per_group, *kernel) = x.shape[1], weight.shape[1:]
        return opset19.DeformConv(
            x,
            weight,
            offset,
            bias,
            mask,
            kernel_shape=kernel,
            strides=stride,
            pads=[*padding, *padding],
            dilations=dilation,
            group=channels // per_group,
            offset_group=offset.shape[1] // (2 * kernel[0] * kernel[1]),
        )

    return {torch.ops.emoscope.deform_conv2d.default: deform_conv}


def _geometry(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Geometry:
    if not x.dim() == offset.dim() == weight.dim() == 4 or 0 in weight.shape:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x, offset, weight))
        raise SpecError(f"x, offset and weight must be of four dimensions each, got {shapes}.")
    kernel = pair(weight.shape[2:])
    return Geometry(
        size=pair(x.shape[2:]),
        kernel=kernel,
        stride=pair(stride),
        padding=pair(padding),
        dilation=pair(dilation),
        groups=max(1, x.shape[1] // weight.shape[1]),
        offset_groups=max(1, offset.shape[1] // (2 * kernel[0] * kernel[1])),
    )


def _check(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    geometry: Geometry,
) -> None:
    channels, (filters, per_group) = x.shape[1], weight.shape[:2]
    parts = geometry.offset_groups
    if any(tensor is not None and tensor.dtype != x.dtype for tensor in (weight, bias)):
        raise SpecError(f"x is of {x.dtype}: weight and bias must be, too.")
    if channels != geometry.groups * per_group or filters % geometry.groups:
        raise SpecError(f"weight {tuple(weight.shape)} cannot share out {channels} channels of x.")
    if channels % parts:
        raise SpecError(f"offset's {parts} groups cannot share out {channels} channels of x.")
    batch = x.shape[0]  # of which len() would make a number while it is traced
    wanted = {
        "offset": (offset, (batch, 2 * parts * geometry.points, *geometry.out)),
        "mask": (mask, (batch, parts * geometry.points, *geometry.out)),
        "bias": (bias, (filters,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise SpecError(f"{name} must be {shape}, got {tuple(tensor.shape)}.")


@dataclass(frozen=True, eq=False)
class _Samples:
    """Where a whole batch is looked at. Small beside the columns, and many small steps on few
    pictures would cost threads more than the work."""

    geometry: Geometry
    table: Tensor  # (B · H · W · S, channels of a slice)
    taps: Taps
    strength: Tensor | None  # the mask (N, 1)

    def weights(self) -> Tensor:
        """Of the samples (N, 4), masked."""
        return products(self._masked(self.taps.y), self.taps.x)

    def slopes(self) -> list[Tensor]:
        """How those change with y, with x and, where there is one, with the mask."""
        taps = self.taps
        pairs = [(self._masked(taps.dy), taps.x), (self._masked(taps.y), taps.dx)]
        if self.strength is not None:
            pairs.append((taps.y, taps.x))
        return [products(y, x) for y, x in pairs]

    def by_point(self, dots: Tensor) -> Tensor:
        """Of every sample (N,) -> summed over an offset group's channels, (B, G, K, H', W')."""
        groups, slices = self.geometry.offset_groups, self.geometry.slices
        parts = (*self.geometry.out, groups, slices // groups, self.geometry.points)
        return dots.view(-1, *parts).sum(4).permute(0, 3, 4, 1, 2)

    def turns(self) -> Iterator[tuple[slice, slice, slice]]:
        """A few neighbouring pictures, and which samples and rows of the table are theirs."""
        pixels = math.prod(self.geometry.size) * self.geometry.slices
        samples = math.prod(self.geometry.out) * self.geometry.slices * self.geometry.points
        together = max(1, round(_COLUMN_BYTES / (4 * samples * self.table.shape[1])))
        batch = len(self.table) // pixels
        for first in range(0, batch, together):
            last = min(first + together, batch)
            yield tuple(slice(first * n, last * n) for n in (1, samples, pixels))  # type: ignore[misc]

    def _masked(self, weights: Tensor) -> Tensor:
        return weights if self.strength is None else weights * self.strength


def _samples(x: Tensor, offset: Tensor, mask: Tensor | None, geometry: Geometry) -> _Samples:
    strength = None
    if mask is not None:
        parts = (geometry.offset_groups, geometry.points, *geometry.out, 1)
        strength = by_sample(mask.reshape(-1, *parts).permute(0, 3, 4, 1, 2, 5), geometry)
    pixels = x.permute(0, 2, 3, 1).to(offset.dtype).contiguous()
    table = pixels.view(-1, x.shape[1] // geometry.slices)
    return _Samples(geometry, table, taps(offset, geometry), strength)


def _rows(values: Tensor, channels: int, geometry: Geometry) -> Tensor:
    """Channels last in memory -> (n · H', channels, 1, W'). A matrix product as a convolution of
    1 x 1 over a batch: torch gives that to oneDNN, which is up to twice as fast as its `mm`."""
    return values.reshape(-1, 1, geometry.out[1], channels).permute(0, 3, 1, 2)


def _flat(weight: Tensor, geometry: Geometry) -> Tensor:
    """(O, C / groups, kh, kw) -> (O, C / groups · K, 1, 1), in the order of the columns."""
    parts = (len(weight), geometry.slices // geometry.groups, -1, geometry.points)
    return weight.reshape(parts).transpose(2, 3).reshape(len(weight), -1, 1, 1)


def _unflat(flat: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    parts = (len(weight), geometry.slices // geometry.groups, geometry.points, -1)
    return flat.reshape(parts).transpose(2, 3).reshape(weight.shape)


def _swapped(flat: Tensor, groups: int) -> Tensor:
    """A kernel (O, I / groups, 1, 1) -> that of its transpose (I, O / groups, 1, 1)."""
    parts = flat.reshape(groups, -1, *flat.shape[1:])
    return parts.transpose(1, 2).flatten(0, 1)


def _new_output(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.empty(
        (x.shape[0], weight.shape[0], *geometry.out),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


@torch.library.custom_op("emoscope::deform_conv2d", mutates_args=())
def _deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    geometry = _geometry(x, offset, weight, stride, padding, dilation)
    out, kernel = _new_output(x, weight, geometry), _flat(weight, geometry)
    samples = _samples(x, offset, mask, geometry)
    rows, weights = samples.taps.rows, samples.weights()
    with torch.autocast(x.device.type, enabled=False):
        for pictures, some, _ in samples.turns():
            columns = gather(samples.table, rows[some], weights[some]).to(x.dtype)
            columns = _rows(columns, kernel.shape[1] * geometry.groups, geometry)
            made = F.conv2d(columns, kernel, bias, groups=geometry.groups)
            made = made.permute(0, 2, 3, 1).reshape(-1, *geometry.out, len(weight))
            out[pictures] = made.permute(0, 3, 1, 2)
    return out


@_deform_conv2d.register_fake
def _(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    return _new_output(x, weight, _geometry(x, offset, weight, stride, padding, dilation))


@torch.library.custom_op("emoscope::deform_conv2d_backward", mutates_args=())
def _backward(
    grad: Tensor,
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients by x, offset, weight and mask, which is empty where there is none."""
    geometry = _geometry(x, offset, weight, stride, padding, dilation)
    samples = _samples(x, offset, mask, geometry)
    by_pixels, by_kernel, dots = _gradients(grad, _flat(weight, geometry), samples)
    by_y, by_x, *by_mask = (samples.by_point(dot) for dot in dots)
    by_picture = by_pixels.view(-1, *geometry.size, x.shape[1]).permute(0, 3, 1, 2)
    return (
        torch.empty_like(x).copy_(by_picture),
        torch.empty_like(offset).copy_(torch.stack([by_y, by_x], 3).flatten(1, 3)),
        _unflat(by_kernel.to(weight.dtype), weight, geometry),
        _like_mask(mask, offset).copy_(
            by_mask[0].flatten(1, 2) if by_mask else offset.new_empty(0)
        ),
    )


def _gradients(
    grad: Tensor, kernel: Tensor, samples: _Samples
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """By the table, by the kernel, and by every sample's y, x and mask (N, 1, 1)."""
    geometry, groups, table = samples.geometry, samples.geometry.groups, samples.table
    rows, weights, slopes = samples.taps.rows, samples.weights(), samples.slopes()
    transpose, swapped = Transpose(rows, weights, len(table)), _swapped(kernel, groups)
    by_kernel = torch.zeros_like(kernel, dtype=table.dtype)
    by_pixels = torch.empty_like(table)
    dots = [table.new_empty(len(rows), 1, 1) for _ in slopes]
    with torch.autocast(table.device.type, enabled=False):
        for pictures, some, pixels in samples.turns():
            out = _rows(grad[pictures].permute(0, 2, 3, 1), len(kernel), geometry)
            columns = gather(table, rows[some], weights[some]).to(kernel.dtype)
            columns = _rows(columns, len(swapped), geometry)
            by_kernel += conv2d_weight(  # type: ignore[no-untyped-call]
                columns, list(kernel.shape), out, groups=groups
            )
            del columns  # memory that the next lines take
            by_columns = F.conv2d(out, swapped, groups=groups).permute(0, 2, 3, 1)
            by_samples = by_columns.reshape(-1, table.shape[1]).to(table.dtype)
            by_pixels[pixels] = transpose.scatter(by_samples, some, pixels)
            for slope, dot in zip(slopes, dots, strict=True):
                change = gather(table, rows[some], slope[some])
                dot[some] = torch.bmm(by_samples.unsqueeze(1), change.unsqueeze(2))
    return by_pixels, by_kernel, dots


def _like_mask(mask: Tensor | None, offset: Tensor) -> Tensor:
    """What an operator returns for the mask: it cannot return None."""
    return offset.new_empty(0) if mask is None else torch.empty_like(mask)


@_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    by_mask = _like_mask(mask, offset)
    return torch.empty_like(x), torch.empty_like(offset), weight.new_empty(weight.shape), by_mask


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, offset, weight, _, mask, *ctx.steps = inputs
    ctx.save_for_backward(x, offset, weight, mask)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, mask = ctx.saved_tensors
    by_x, by_offset, by_weight, by_mask = _backward(grad, *tensors, mask, *ctx.steps)
    by_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
    by_mask = by_mask if mask is not None else None
    return by_x, by_offset, by_weight, by_bias, by_mask, None, None, None


_deform_conv2d.register_autograd(_differentiate, setup_context=_remember)
