"""What a network expects of each label: class images, by gradient ascent on its input (Simonyan,
Vedaldi and Zisserman, "Deep inside convolutional networks", ICLR Workshop 2014)."""

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
from emoscope.training.explain.attribution import answered, open_network
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
_STEP = 0.1  # of the spread that a stream's values have
_DECAY = 0.05  # of the distance from the start, a step
_NOISE = 0.1  # of the spread; from equal pixels and frames gradients would be equal, too
_JITTER, _BLUR = 1 / 16, 1 / 32  # of a picture's sides
_IN_A_STRIP = 4  # frames of a clip that are drawn
_STRONGEST = 0.995  # the share of values that stretched pictures hold


@dataclass(frozen=True, eq=False)
class ClassImage:
    """What raises a label's logit.

    probability   of the label, given these inputs
    inputs        {stream: (T, C, H, W)} as the network is fed them: normalised
    """

    label: str
    probability: float
    inputs: Mapping[str, FloatArray]


def write_classes(
    run_dir: Path, folder: Path, steps: int = STEPS
) -> tuple[Path, tuple[ClassImage, ...]]:
    """RUN-classes.png. -> where it lies, and what is on it. Raises RecipeError for what is no run
    of a network of pictures, MediaError."""
    network = open_network(run_dir)
    labels, spec = network.run.labels, network.spec
    images = tuple(class_images(network.model, spec, labels, steps, network.temperature))
    path = folder / f"{run_dir.resolve().name}-classes.png"
    write_png(path, classes_sheet(images, spec, steps))
    return path, images


def class_images(
    model: nn.Module,
    spec: ClipSpec,
    labels: Sequence[str],
    steps: int = STEPS,
    temperature: float = 1.0,
) -> Iterator[ClassImage]:
    """One of each label, the same at every call, by a network in eval mode.

    The start x0 is grey, or without motion, but for a faint noise. Each step goes up the gradient
    of the label's logit S, and by L2 back towards x0: what is sought is the maximum of
    S(x) - λ |x - x0|². Ours: the gradient is scaled to one size, and λ with it, so that networks
    need no settings of their own; steps shrink to nothing; against patterns finer than a face has,
    the input is shifted at random before each, and the gradient blurred. Values stay within what
    pictures can hold.
    Streams that are no pictures are zero."""
    kinds = [stream.kind for stream in spec.pictures]
    for column, label in enumerate(labels):
        inputs = _ascended(model, spec, column, steps)
        probs = answered(model, inputs, temperature)[0]
        pictures = {str(kind): inputs[kind][0].numpy() for kind in kinds}
        yield ClassImage(label, float(probs[column]), pictures)


def classes_sheet(images: Sequence[ClassImage], spec: ClipSpec, steps: int) -> Picture:
    """(H, W, 3): a tile a label; of a clip a row a label, of a few frames of every stream."""
    tiles = [_tiles(image, spec) for image in images]
    columns = len(tiles[0]) if len(tiles[0]) > 1 else columns_for(len(tiles))
    lines = [f"Gradient ascent from a neutral start, {steps} steps, with L2"]
    if any(stream.is_flow for stream in spec.pictures):
        lines.append("Of flow the hue is the direction; white does not move")
    sheet = in_rows(_padded([tile for row in tiles for tile in row]), columns)
    return captioned(sheet, "Class images: what raises the logit of each label", *lines)


def pictures_of(stream: Stream, values: FloatArray) -> Picture:
    """A stream's input as pictures, (T, C, H, W) -> (T, H, W, 3).

    Un-normalised, where that is known: after `per_clip` and of dynamic images the strongest values
    are stretched to black and white. Of flow the hue is the direction, the saturation the speed."""
    values = _undone(stream, values)
    if stream.is_flow:
        return _wheel(values)
    if not _is_bounded(stream):
        values = 0.5 + values / (2 * _largest(np.abs(values)))
    pictures = (255 * values.clip(0, 1)).round().astype(np.uint8)
    return np.broadcast_to(pictures, (*pictures.shape[:-1], 3))


@dataclass(frozen=True, eq=False)
class _Canvas:
    """A stream that is being painted, in its normalised values, each (C, 1, 1)."""

    neutral: Tensor
    spread: Tensor  # what values of real pictures vary by, roughly
    low: Tensor
    high: Tensor

    def held(self, values: Tensor) -> Tensor:
        """Within what pictures can hold."""
        return values.clamp(self.low, self.high)

    def stepped(self, values: Tensor, gradient: Tensor, part: float) -> Tensor:
        """A part of a whole step further: (1, T, C, H, W)."""
        slope = _blurred(gradient * self.spread)
        size = slope.square().mean().sqrt().clamp_min(1e-20)  # a network may not depend on it
        way = _STEP * self.spread * slope / size - _DECAY * (values - self.neutral)
        return self.held(values + part * way)


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
    """Whether its values are in [0, 1] before mean and std."""
    return stream.kind in ("rgb", "gray") and not stream.normalisation.per_clip


def _ascended(model: nn.Module, spec: ClipSpec, column: int, steps: int) -> dict[str, Tensor]:
    """{stream: (1, ...)} that raise the logit in a column."""
    draw = np.random.default_rng((0, column))
    inputs = {kind: torch.zeros(1, *shape) for kind, shape in spec.shapes().items()}
    canvases = {stream.kind: _canvas(stream) for stream in spec.pictures}
    for kind, canvas in canvases.items():
        noise = draw.standard_normal(inputs[kind].shape, dtype=np.float32)
        start = canvas.neutral + _NOISE * canvas.spread * torch.from_numpy(noise)
        inputs[kind] = canvas.held(start)
    for step in range(steps):
        shift = draw.uniform(-_JITTER, _JITTER, 2)
        for kind in canvases:
            inputs[kind].requires_grad_()
        shown = {kind: _shifted(x, shift) if kind in canvases else x for kind, x in inputs.items()}
        logit = model(**shown)[0, column]
        gradients = torch.autograd.grad(logit, [inputs[kind] for kind in canvases])
        for (kind, canvas), gradient in zip(canvases.items(), gradients, strict=True):
            inputs[kind] = canvas.stepped(inputs[kind].detach(), gradient, 1 - step / steps)
    return inputs


def _shifted(values: Tensor, shift: FloatArray) -> Tensor:
    """All frames alike, by parts of their sides; what leaves comes in again opposite."""
    down, right = (round(part * side) for part, side in zip(shift, values.shape[-2:], strict=True))
    return values.roll((down, right), (-2, -1))


def _blurred(values: Tensor) -> Tensor:
    """Each picture by a Gaussian. (..., H, W)"""
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


def _undone(stream: Stream, values: FloatArray) -> FloatArray:
    """(T, C, H, W) -> (T, H, W, C) without mean and std."""
    how = stream.normalisation
    return values.transpose(0, 2, 3, 1) * np.asarray(how.std) + np.asarray(how.mean)


def _wheel(flow: FloatArray) -> Picture:
    """(T, H, W, 2) -> (T, H, W, 3)."""
    speed, angle = np.hypot(flow[..., 0], flow[..., 1]), np.arctan2(flow[..., 1], flow[..., 0])
    hue = np.degrees(angle) % 360 / 2  # OpenCV's circle has 180 parts
    saturation = 255 * (speed / _largest(speed)).clip(0, 1)
    hsv = np.stack([hue, saturation, np.full_like(hue, 255)], -1).astype(np.uint8)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) for frame in hsv])


def _largest(values: FloatArray) -> float:
    """But for a few that stand out."""
    return float(np.quantile(values, _STRONGEST)) or 1.0


def _tiles(image: ClassImage, spec: ClipSpec) -> list[Picture]:
    """A few frames of every stream, side by side."""
    tiles: list[Picture] = []
    for stream in spec.pictures:
        pictures = pictures_of(stream, image.inputs[stream.kind])
        length = len(pictures)
        for t in np.linspace(0, length - 1, min(length, _IN_A_STRIP)).round().astype(int):
            about = [] if tiles else [f"{image.label} {image.probability:.0%}"]
            about += [stream.kind] if len(spec.pictures) > 1 else []
            about += [f"frame {t + 1} of {length}"] if length > 1 else []
            tiles.append(titled(enlarged(pictures[t]), ", ".join(about)))
    return tiles


def _padded(tiles: Sequence[Picture]) -> list[Picture]:
    """All as large as the largest: streams may differ in size."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    return [
        cv2.copyMakeBorder(  # type: ignore[misc]
            tile, 0, height - tile.shape[0], 0, width - tile.shape[1], cv2.BORDER_CONSTANT
        )
        for tile in tiles
    ]
