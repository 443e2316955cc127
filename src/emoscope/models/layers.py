"""What the families share: the registry, example inputs, sizes, squeeze-and-excitation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Window
from emoscope.core.errors import SpecError
from emoscope.core.registry import Registry

__all__ = ["MODELS", "ModelEntry", "SqueezeExcite", "example_inputs", "scaled", "window_of"]

_SLOWEST_HZ = 24  # a film at this rate still fills a window


@dataclass(frozen=True)
class ModelEntry:
    """How to build a network, and the options that make a small one."""

    build: Callable[..., nn.Module]
    small: Mapping[str, Any] = field(default_factory=dict)


MODELS: Registry[ModelEntry] = Registry("model")


def example_inputs(spec: ClipSpec, batch: int = 2) -> dict[str, Tensor]:
    """Random inputs, (B, ...) of the shapes a ClipSpec gives, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(batch, *shape, generator=generator)
        for name, shape in spec.shapes().items()
    }


def scaled(width: float, channels: Sequence[int]) -> tuple[int, ...]:
    """`width` times as many of each, 1 at least. Raises SpecError."""
    if not width > 0:
        raise SpecError(f"width {width} leaves no filters; the default is 1.")
    return tuple(max(1, round(width * count)) for count in channels)


def window_of(frames: int, least_s: float = 0.0) -> Window:
    """The shortest window, `least_s` at least, that holds as many frames, and one to spare, of a
    slow film too; stride half of it."""
    length_s = max(least_s, round((frames + 1) / _SLOWEST_HZ, 2))
    return Window(length_s=length_s, stride_s=length_s / 2)


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al., CVPR 2018). (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.squeeze(x.mean((2, 3), keepdim=True)).relu()
        return x * self.excite(weight).sigmoid()
