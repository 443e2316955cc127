"""Base class of all networks."""

import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec

__all__ = ["Network"]


class Network(nn.Module):
    """A network that states its inputs: `forward(**inputs) -> logits (B, num_classes)`.

    A subclass sets `clip_spec` in its constructor and takes one keyword argument per stream in
    `forward`, each a float32 tensor (B, ...) of the shape in `clip_spec.shapes()`.
    """

    clip_spec: ClipSpec

    def example_inputs(self, batch: int = 2) -> dict[str, Tensor]:
        """Random inputs {stream: (batch, ...)}; every call returns the same values."""
        generator = torch.Generator().manual_seed(0)
        return {
            stream: torch.randn(batch, *shape, generator=generator)
            for stream, shape in self.clip_spec.shapes().items()
        }
