"""Torch networks, one file a family.

`names()` lists them, `create(name)` builds one. Every network is a `Network`: it has `clip_spec`
(its inputs), `example_inputs(batch)` and `forward(**inputs) -> logits (B, num_classes)`.

To add a family, write one file in this folder that calls `MODELS.add(name, ModelEntry(...))`. An
installed package does the same in a module that its entry point in the group `emoscope.models`
names.
"""

from emoscope.models.network import Network
from emoscope.models.registry import MODELS, ModelEntry, create, names, small

__all__ = ["MODELS", "ModelEntry", "Network", "create", "names", "small"]
