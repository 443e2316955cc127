"""Torch networks, one file a family. `names()` lists them, `create(name)` builds one.

Every network has `clip_spec` (what it eats), `example_inputs(batch)` and
`forward(**inputs) -> logits (B, num_classes)`.
"""

from typing import Any

from torch import nn

from emoscope.models import (  # noqa: F401  # they register their networks
    av_joint,
    body,
    c3d,
    face,
    four_stream,
    time_fusion,
    vgg,
)
from emoscope.models.layers import MODELS

__all__ = ["MODELS", "create", "names", "small"]


def names() -> list[str]:
    """Names of all networks."""
    return list(MODELS)


def create(name: str, num_classes: int | None = None, **options: Any) -> nn.Module:
    """Build a network. `num_classes` None is the paper's own number. Raises UnknownName."""
    entry = MODELS[name]
    if num_classes is not None:
        options["num_classes"] = num_classes
    return entry.build(**options)


def small(name: str) -> dict[str, Any]:
    """Options of a small version of a network, for tests and tutorials."""
    return dict(MODELS[name].small)
