"""Distillation: a network learns the predictions of a bundle beside the labels.

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

__all__ = ["check_teacher", "soft_targets"]


def soft_targets(
    teacher: Bundle, share: float, inputs: dict[str, Tensor], target: Tensor
) -> Tensor:
    """(B, C) targets of a batch: `share` of the teacher's probabilities, the rest `target`.

    The teacher gets the same augmented clips. Its probabilities are the softmax of its logits,
    without its temperature."""
    logits = teacher.run({name: value.cpu().numpy() for name, value in inputs.items()})
    probs = torch.from_numpy(np.asarray(logits, dtype=np.float32)).softmax(dim=1)
    return target.lerp(probs.to(target), share)


def check_teacher(recipe: Recipe, spec: ClipSpec, labels: Sequence[str]) -> None:
    """Check that the recipe's teacher has the network's labels and inputs.

    Raises RecipeError; BundleError or UnknownName for a teacher that cannot be loaded."""
    if recipe.teacher is None:
        return
    teacher = load_bundle(recipe.teacher.bundle)
    if teacher.labels != tuple(labels):
        raise RecipeError(
            f"{recipe.name}: the teacher {teacher.name} has the labels "
            f"{', '.join(teacher.labels)}, in this order; the corpus has {', '.join(labels)}. "
            "Choose a teacher with the same labels."
        )
    if teacher.clip_spec.streams != spec.streams:
        raise RecipeError(
            f"{recipe.name}: the inputs of the teacher {teacher.name}, "
            f"{teacher.clip_spec.shapes()}, are not those of {recipe.model.name}, {spec.shapes()}. "
            "Choose a teacher with the same streams."
        )
