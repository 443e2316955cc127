"""Deformable convolution: each point of the kernel samples the input at an offset.

Dai et al., "Deformable Convolutional Networks", ICCV 2017, arXiv:1703.06211; with a mask, Zhu et
al., "Deformable ConvNets v2", CVPR 2019, arXiv:1811.11168:

    y(p) = Σ_k w_k · x(p + p_k + Δp_k) · Δm_k

where x is interpolated bilinearly and is zero outside the input.

Samples are gathered into columns, which a matrix product maps to the output, for a few images at a
time, so that the columns stay in the cache. The backward pass gathers them again, which is much
cheaper than storing them.
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

_COLUMN_BYTES = 2**24  # approximate size of the columns computed at a time


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
    """Deformable convolution -> (B, O, H', W'), like `conv2d`, in x's memory format.

    x        (B, C, H, W)
    offset   (B, 2·G·K, H', W') in pixels: (y, x) for each of the K = kh·kw points and each of G
             groups of channels, as in ONNX and torchvision
    weight   (O, C / groups, kh, kw)
    bias     (O,)
    mask     (B, G·K, H', W'): factor of every sample (Deformable ConvNets v2)

    Differentiable once with respect to all five. Positions and samples are float32 if x has half
    precision. Raises SpecError for incompatible shapes and dtypes.

    >>> import torch
    >>> from emoscope.models.deformable import deform_conv2d
    >>> x, weight = torch.randn(2, 4, 8, 8), torch.randn(6, 4, 3, 3)
    >>> offset = torch.zeros(2, 2 * 9, 8, 8)  # zero offsets: an ordinary convolution
    >>> y = deform_conv2d(x, offset, weight, padding=1)
    >>> torch.allclose(y, torch.nn.functional.conv2d(x, weight, padding=1), atol=1e-4)
    True
    """
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    full_dtype = torch.promote_types(x.dtype, torch.float32)
    offset, mask = offset.to(full_dtype), None if mask is None else mask.to(full_dtype)
    settings = (pair(stride), pair(padding), pair(dilation))
    _check(x, offset, weight, bias, mask, _geometry(x, offset, weight, *settings))
    return _deform_conv2d(x, offset, weight, bias, mask, *settings)


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Translations for `torch.onnx.export(custom_translation_table=...)`: DeformConv (opset 19)."""
    from onnxscript import opset19

    def deform_conv(  # arguments are the exporter's values
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
        raise SpecError(f"x, offset and weight must have four dimensions each, got {shapes}.")
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
    """Raises SpecError for incompatible shapes and dtypes."""
    channels, (filters, per_group) = x.shape[1], weight.shape[:2]
    groups = geometry.offset_groups
    if any(tensor is not None and tensor.dtype != x.dtype for tensor in (weight, bias)):
        raise SpecError(f"x is {x.dtype}: weight and bias must have the same dtype.")
    if channels != geometry.groups * per_group or filters % geometry.groups:
        raise SpecError(f"weight {tuple(weight.shape)} does not fit {channels} channels of x.")
    if channels % groups:
        raise SpecError(
            f"The {channels} channels of x cannot be divided into the {groups} groups of offset."
        )
    batch = x.shape[0]  # len() would become a constant when traced
    expected = {
        "offset": (offset, (batch, 2 * groups * geometry.points, *geometry.out)),
        "mask": (mask, (batch, groups * geometry.points, *geometry.out)),
        "bias": (bias, (filters,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise SpecError(f"{name} must be {shape}, got {tuple(tensor.shape)}.")


@dataclass(frozen=True, eq=False)
class _Samples:
    """Positions and weights of all samples of a batch.

    They are computed for the whole batch, as they are small beside the columns, and many small
    operations would be dominated by threading overhead."""

    geometry: Geometry
    table: Tensor  # (B · H · W · S, channels of a slice)
    taps: Taps
    mask: Tensor | None  # (N, 1)

    def weights(self) -> Tensor:
        """Weights of the four pixels of each sample (N, 4), including the mask."""
        return products(self._masked(self.taps.y), self.taps.x)

    def weight_derivatives(self) -> list[Tensor]:
        """Derivatives of `weights` with respect to y, x and, if there is one, the mask."""
        taps = self.taps
        pairs = [(self._masked(taps.dy), taps.x), (self._masked(taps.y), taps.dx)]
        if self.mask is not None:
            pairs.append((taps.y, taps.x))
        return [products(y, x) for y, x in pairs]

    def by_point(self, values: Tensor) -> Tensor:
        """Sum values of samples (N,) over the channels of offset groups, (B, G, K, H', W')."""
        groups, slices = self.geometry.offset_groups, self.geometry.slices
        shape = (*self.geometry.out, groups, slices // groups, self.geometry.points)
        return values.view(-1, *shape).sum(4).permute(0, 3, 4, 1, 2)

    def chunks(self) -> Iterator[tuple[slice, slice, slice]]:
        """Yield chunks of the batch: slices of the images, their samples, and their table rows."""
        pixels = math.prod(self.geometry.size) * self.geometry.slices
        samples = math.prod(self.geometry.out) * self.geometry.slices * self.geometry.points
        chunk = max(1, round(_COLUMN_BYTES / (4 * samples * self.table.shape[1])))
        batch = len(self.table) // pixels
        for first in range(0, batch, chunk):
            last = min(first + chunk, batch)
            yield tuple(slice(first * n, last * n) for n in (1, samples, pixels))  # type: ignore[misc]

    def _masked(self, weights: Tensor) -> Tensor:
        return weights if self.mask is None else weights * self.mask


def _samples(x: Tensor, offset: Tensor, mask: Tensor | None, geometry: Geometry) -> _Samples:
    if mask is not None:
        shape = (geometry.offset_groups, geometry.points, *geometry.out, 1)
        mask = by_sample(mask.reshape(-1, *shape).permute(0, 3, 4, 1, 2, 5), geometry)
    pixels = x.permute(0, 2, 3, 1).to(offset.dtype).contiguous()
    table = pixels.view(-1, x.shape[1] // geometry.slices)
    return _Samples(geometry, table, taps(offset, geometry), mask)


def _rows(values: Tensor, channels: int, geometry: Geometry) -> Tensor:
    """Reshape channels-last values to (n · H', channels, 1, W'), the input of a 1 x 1 convolution.

    It computes a matrix product with oneDNN, which is up to twice as fast as torch's `mm`."""
    return values.reshape(-1, 1, geometry.out[1], channels).permute(0, 3, 1, 2)


def _flat(weight: Tensor, geometry: Geometry) -> Tensor:
    """(O, C / groups, kh, kw) -> (O, C / groups · K, 1, 1), in the order of the columns."""
    shape = (len(weight), geometry.slices // geometry.groups, -1, geometry.points)
    return weight.reshape(shape).transpose(2, 3).reshape(len(weight), -1, 1, 1)


def _unflat(flat: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Inverse of `_flat`."""
    shape = (len(weight), geometry.slices // geometry.groups, geometry.points, -1)
    return flat.reshape(shape).transpose(2, 3).reshape(weight.shape)


def _empty_output(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Uninitialised output (B, O, H', W') in x's memory format."""
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
    out, kernel = _empty_output(x, weight, geometry), _flat(weight, geometry)
    samples = _samples(x, offset, mask, geometry)
    rows, weights = samples.taps.rows, samples.weights()
    with torch.autocast(x.device.type, enabled=False):
        for images, chunk, _ in samples.chunks():
            columns = gather(samples.table, rows[chunk], weights[chunk]).to(x.dtype)
            columns = _rows(columns, kernel.shape[1] * geometry.groups, geometry)
            maps = F.conv2d(columns, kernel, bias, groups=geometry.groups)
            maps = maps.permute(0, 2, 3, 1).reshape(-1, *geometry.out, len(weight))
            out[images] = maps.permute(0, 3, 1, 2)
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
    return _empty_output(x, weight, _geometry(x, offset, weight, stride, padding, dilation))


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
    """Gradients of x, offset, weight and mask; that of the mask is empty if there is none."""
    geometry = _geometry(x, offset, weight, stride, padding, dilation)
    samples = _samples(x, offset, mask, geometry)
    grad_table, grad_kernel, grad_samples = _gradients(grad, _flat(weight, geometry), samples)
    grad_y, grad_x, *grad_mask = (samples.by_point(values) for values in grad_samples)
    grad_images = grad_table.view(-1, *geometry.size, x.shape[1]).permute(0, 3, 1, 2)
    return (
        torch.empty_like(x).copy_(grad_images),
        torch.empty_like(offset).copy_(torch.stack([grad_y, grad_x], 3).flatten(1, 3)),
        _unflat(grad_kernel.to(weight.dtype), weight, geometry),
        _like_mask(mask, offset).copy_(
            grad_mask[0].flatten(1, 2) if grad_mask else offset.new_empty(0)
        ),
    )


def _gradients(
    grad: Tensor, kernel: Tensor, samples: _Samples
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Gradients of the table, the kernel, and each sample's y, x and mask (N, 1, 1)."""
    geometry, groups, table = samples.geometry, samples.geometry.groups, samples.table
    rows, weights, derivatives = samples.taps.rows, samples.weights(), samples.weight_derivatives()
    transpose = Transpose(rows, weights, len(table))
    # Kernel of the transposed convolution (I, O / groups, 1, 1).
    transposed = kernel.reshape(groups, -1, *kernel.shape[1:]).transpose(1, 2).flatten(0, 1)
    grad_kernel = torch.zeros_like(kernel, dtype=table.dtype)
    grad_table = torch.empty_like(table)
    grad_samples = [table.new_empty(len(rows), 1, 1) for _ in derivatives]
    with torch.autocast(table.device.type, enabled=False):
        for images, chunk, pixels in samples.chunks():
            grad_out = _rows(grad[images].permute(0, 2, 3, 1), len(kernel), geometry)
            columns = gather(table, rows[chunk], weights[chunk]).to(kernel.dtype)
            columns = _rows(columns, len(transposed), geometry)
            grad_kernel += conv2d_weight(  # type: ignore[no-untyped-call]
                columns, list(kernel.shape), grad_out, groups=groups
            )
            del columns  # free memory for the next lines
            grad_columns = F.conv2d(grad_out, transposed, groups=groups).permute(0, 2, 3, 1)
            grad_columns = grad_columns.reshape(-1, table.shape[1]).to(table.dtype)
            grad_table[pixels] = transpose.scatter(grad_columns, chunk, pixels)
            for derivative, values in zip(derivatives, grad_samples, strict=True):
                change = gather(table, rows[chunk], derivative[chunk])
                values[chunk] = torch.bmm(grad_columns.unsqueeze(1), change.unsqueeze(2))
    return grad_table, grad_kernel, grad_samples


def _like_mask(mask: Tensor | None, offset: Tensor) -> Tensor:
    """Uninitialised gradient of the mask; empty without one, as operators cannot return None."""
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
    grad_mask = _like_mask(mask, offset)
    return torch.empty_like(x), torch.empty_like(offset), weight.new_empty(weight.shape), grad_mask


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, offset, weight, _, mask, *ctx.settings = inputs
    ctx.save_for_backward(x, offset, weight, mask)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, mask = ctx.saved_tensors
    grad_x, grad_offset, grad_weight, grad_mask = _backward(grad, *tensors, mask, *ctx.settings)
    grad_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
    grad_mask = grad_mask if mask is not None else None
    return grad_x, grad_offset, grad_weight, grad_bias, grad_mask, None, None, None


_deform_conv2d.register_autograd(_differentiate, setup_context=_setup_context)
