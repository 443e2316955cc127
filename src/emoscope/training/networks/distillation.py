"""A bundle whose answers are learned beside the labels: distillation.

Hinton et al., "Distilling the knowledge in a neural network", 2015.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import RecipeError
from emoscope.training.recipe import Recipe

__all__ = ["check_teacher", "softened"]


def softened(teacher: Bundle, share: float, inputs: dict[str, Tensor], target: Tensor) -> Tensor:
    """(B, C): what is to be learned of a batch, `share` of it what the teacher says of the same
    clips, augmented as they are: the softmax of its logits, without its temperature."""
    logits = teacher.run({name: value.cpu().numpy() for name, value in inputs.items()})
    said = torch.from_numpy(np.asarray(logits, dtype=np.float32)).softmax(dim=1)
    return target.lerp(said.to(target), share)


def check_teacher(recipe: Recipe, spec: ClipSpec, labels: Sequence[str]) -> None:
    """Raises RecipeError where the recipe's teacher knows other labels or takes other inputs than
    the network that learns from it, BundleError where it is none, UnknownName."""
    if recipe.teacher is None:
        return
    teacher = load_bundle(recipe.teacher.bundle)
    if teacher.labels != tuple(labels):
        raise RecipeError(
            f"{recipe.name}: the teacher {teacher.name} knows {', '.join(teacher.labels)}, in this "
            f"order; the corpus has {', '.join(labels)}. Choose one of the same labels."
        )
    if teacher.clip_spec.streams != spec.streams:
        raise RecipeError(
            f"{recipe.name}: the teacher {teacher.name} takes {teacher.clip_spec.shapes()}, made "
            f"in its own way; {recipe.model.name} takes {spec.shapes()}. Choose one that is fed "
            "alike."
        )
