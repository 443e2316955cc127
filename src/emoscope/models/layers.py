"""What the families share: the registry, example inputs, squeeze-and-excitation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec
from emoscope.core.registry import Registry

__all__ = ["MODELS", "ModelEntry", "SqueezeExcite", "example_inputs"]


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
