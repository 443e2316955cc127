"""Class images: inputs that maximise the logit of a label, by gradient ascent.

Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", ICLR Workshop 2014.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscope.core.arrays import FloatArray, Picture
from emoscope.core.clipspec import ClipSpec, Stream
from emoscope.training.explain.attribution import open_network, predicted_probs
from emoscope.training.explain.names import drawing_source, drawing_stem
from emoscope.training.explain.tiles import (
    captioned,
    columns_for,
    enlarged,
    in_rows,
    titled,
    write_png,
)

__all__ = ["STEPS", "ClassImage", "class_images", "classes_sheet", "pictures_of", "write_classes"]


STEPS = 64
_STEP = 0.1  # part of the spread of a stream's values
_DECAY = 0.05  # part of the distance from the start, per step
_NOISE = 0.1  # part of the spread; equal pixels and frames would have equal gradients
_JITTER, _BLUR = 1 / 16, 1 / 32  # parts of a picture's sides
_FRAMES_PER_CLIP = 4  # that are drawn
_QUANTILE = 0.995  # of the values, scaled to full contrast


@dataclass(frozen=True, eq=False)
class ClassImage:
    """The input that maximises a label's logit.

    probability   of the label for these inputs
    inputs        {stream: (T, C, H, W)}, normalised
    """

    label: str
    probability: float
    inputs: Mapping[str, FloatArray]


def write_classes(
    run_dir: Path, folder: Path, steps: int = STEPS, *, allow_code: bool = False
) -> tuple[Path, tuple[ClassImage, ...]]:
    """Write a sheet of class images, RUN-classes.png. Returns its path and the images.

    It replaces only a sheet of the same run; otherwise its name is extended by a number.
    Raises RecipeError for a folder that is not a run of a network with pictures, MediaError."""
    network = open_network(run_dir, allow_code=allow_code)
    labels, spec = network.run.labels, network.spec
    images = tuple(class_images(network.model, spec, labels, steps, network.temperature))
    source = drawing_source(run_dir)
    stem = drawing_stem(run_dir.resolve().name, ["classes"], source, folder)
    path = folder / f"{stem}-classes.png"
    write_png(path, classes_sheet(images, spec, steps), source)
    return path, images


def class_images(
    model: nn.Module,
    spec: ClipSpec,
    labels: Sequence[str],
    steps: int = STEPS,
    temperature: float = 1.0,
) -> Iterator[ClassImage]:
    """Yield one class image per label; the same ones at every call. The network is in eval mode.

    Gradient ascent maximises S(x) - λ |x - x0|², where S is the label's logit and x0 a grey (for
    flow: motionless) start with faint noise. In addition to the paper, the gradient is scaled to a
    fixed size, and λ with it, so that no network needs its own settings; step sizes fall to 0; and
    random shifts of the input and a blurred gradient suppress fine patterns. Values stay in the
    range of pictures. Other streams are zero."""
    kinds = [stream.kind for stream in spec.pictures]
    for column, label in enumerate(labels):
        inputs = _ascended(model, spec, column, steps)
        probs = predicted_probs(model, inputs, temperature)[0]
        pictures = {str(kind): inputs[kind][0].numpy() for kind in kinds}
        yield ClassImage(label, float(probs[column]), pictures)


def classes_sheet(images: Sequence[ClassImage], spec: ClipSpec, steps: int) -> Picture:
    """(H, W, 3): one tile per label; for clips one row per label, a few frames of each stream."""
    tiles = [_tiles(image, spec) for image in images]
    columns = len(tiles[0]) if len(tiles[0]) > 1 else columns_for(len(tiles))
    lines = [f"Gradient ascent from a neutral start, {steps} steps, with L2"]
    if any(stream.is_flow for stream in spec.pictures):
        lines.append("Flow: hue is the direction, white is no motion")
    sheet = in_rows(_padded([tile for row in tiles for tile in row]), columns)
    return captioned(sheet, "Class images: inputs that maximise the logit of each label", *lines)


def pictures_of(stream: Stream, values: FloatArray) -> Picture:
    """Turn a stream's normalised input into pictures, (T, C, H, W) -> (T, H, W, 3).

    Dynamic images, and pictures normalised per clip, have no fixed range and are stretched to full
    contrast. Flow is drawn with the direction as hue and the speed as saturation."""
    how = stream.normalisation
    values = values.transpose(0, 2, 3, 1) * np.asarray(how.std) + np.asarray(how.mean)
    if stream.is_flow:
        return _wheel(values)
    if not _is_bounded(stream):
        values = 0.5 + values / (2 * _largest(np.abs(values)))
    pictures = (255 * values.clip(0, 1)).round().astype(np.uint8)
    return np.broadcast_to(pictures, (*pictures.shape[:-1], 3))


@dataclass(frozen=True, eq=False)
class _Canvas:
    """The range of a stream's normalised values, each (C, 1, 1)."""

    neutral: Tensor
    spread: Tensor  # rough standard deviation of real pictures
    low: Tensor
    high: Tensor

    def clamped(self, values: Tensor) -> Tensor:
        """Limit values to the range of pictures."""
        return values.clamp(self.low, self.high)

    def stepped(self, values: Tensor, gradient: Tensor, part: float) -> Tensor:
        """Take a part of a full step: (1, T, C, H, W)."""
        slope = _blurred(gradient * self.spread)
        size = (
            slope.square().mean().sqrt().clamp_min(1e-20)
        )  # the network may not depend on the stream
        step = _STEP * self.spread * slope / size - _DECAY * (values - self.neutral)
        return self.clamped(values + part * step)


def _canvas(stream: Stream) -> _Canvas:
    how = stream.normalisation
    if _is_bounded(stream):
        neutral, spread, low, high = 0.5, 0.25, 0.0, 1.0
    else:
        limit = math.inf if how.limit is None or how.per_clip else how.limit
        neutral, spread, low, high = 0.0, 1.0, -limit, limit
    mean, std = (
        torch.tensor(part).expand(stream.channels)[:, None, None] for part in (how.mean, how.std)
    )
    return _Canvas(
        neutral=(neutral - mean) / std,
        spread=spread / std,
        low=(low - mean) / std,
        high=(high - mean) / std,
    )


def _is_bounded(stream: Stream) -> bool:
    """Whether a stream's values are in [0, 1] before mean and std."""
    return stream.kind in ("rgb", "gray") and not stream.normalisation.per_clip


def _ascended(model: nn.Module, spec: ClipSpec, column: int, steps: int) -> dict[str, Tensor]:
    """{stream: (1, ...)} that maximise the logit in a column."""
    draw = np.random.default_rng((0, column))
    inputs = {kind: torch.zeros(1, *shape) for kind, shape in spec.shapes().items()}
    canvases = {stream.kind: _canvas(stream) for stream in spec.pictures}
    for kind, canvas in canvases.items():
        noise = draw.standard_normal(inputs[kind].shape, dtype=np.float32)
        start = canvas.neutral + _NOISE * canvas.spread * torch.from_numpy(noise)
        inputs[kind] = canvas.clamped(start)
    for step in range(steps):
        shift = draw.uniform(-_JITTER, _JITTER, 2)
        for kind in canvases:
            inputs[kind].requires_grad_()
        moved = {kind: _shifted(x, shift) if kind in canvases else x for kind, x in inputs.items()}
        logit = model(**moved)[0, column]
        gradients = torch.autograd.grad(logit, [inputs[kind] for kind in canvases])
        for (kind, canvas), gradient in zip(canvases.items(), gradients, strict=True):
            inputs[kind] = canvas.stepped(inputs[kind].detach(), gradient, 1 - step / steps)
    return inputs


def _shifted(values: Tensor, shift: FloatArray) -> Tensor:
    """Shift all frames circularly by parts of their sides."""
    down, right = (round(part * side) for part, side in zip(shift, values.shape[-2:], strict=True))
    return values.roll((down, right), (-2, -1))


def _blurred(values: Tensor) -> Tensor:
    """Blur pictures (..., H, W) with a Gaussian."""
    maps = values.flatten(0, -3)[:, None]
    for axis in (-2, -1):
        sigma = _BLUR * values.shape[axis]
        reach = math.ceil(3 * sigma)
        weights = (torch.arange(-reach, reach + 1) / sigma).square().mul(-0.5).exp()
        padding = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
        shape = (1, 1, 1, -1) if axis == -1 else (1, 1, -1, 1)
        kernel = (weights / weights.sum()).reshape(shape)
        maps = F.conv2d(F.pad(maps, padding, mode="replicate"), kernel)
    return maps.reshape(values.shape)


def _wheel(flow: FloatArray) -> Picture:
    """Colour-code flow: (T, H, W, 2) -> (T, H, W, 3)."""
    speed, angle = np.hypot(flow[..., 0], flow[..., 1]), np.arctan2(flow[..., 1], flow[..., 0])
    hue = np.degrees(angle) % 360 / 2  # OpenCV's circle has 180 parts
    saturation = 255 * (speed / _largest(speed)).clip(0, 1)
    hsv = np.stack([hue, saturation, np.full_like(hue, 255)], -1).astype(np.uint8)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) for frame in hsv])


def _largest(values: FloatArray) -> float:
    """The 0.995 quantile, which ignores outliers; 1 instead of 0."""
    return float(np.quantile(values, _QUANTILE)) or 1.0


def _tiles(image: ClassImage, spec: ClipSpec) -> list[Picture]:
    """Tiles of a few frames of every stream."""
    tiles: list[Picture] = []
    for stream in spec.pictures:
        pictures = pictures_of(stream, image.inputs[stream.kind])
        length = len(pictures)
        for t in np.linspace(0, length - 1, min(length, _FRAMES_PER_CLIP)).round().astype(int):
            about = [] if tiles else [f"{image.label} {image.probability:.0%}"]
            about += [stream.kind] if len(spec.pictures) > 1 else []
            about += [f"frame {t + 1} of {length}"] if length > 1 else []
            tiles.append(titled(enlarged(pictures[t]), ", ".join(about)))
    return tiles


def _padded(tiles: Sequence[Picture]) -> list[Picture]:
    """Pad tiles to the size of the largest: streams may differ in size."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    return [
        cv2.copyMakeBorder(  # type: ignore[misc]
            tile, 0, height - tile.shape[0], 0, width - tile.shape[1], cv2.BORDER_CONSTANT
        )
        for tile in tiles
    ]
