"""Features from the frozen part of a network, computed once for all epochs and folds.

CACHE/features/ab/ab12....npy     one clip, float32

The cache lies beside the clips; a file's name is a digest of the clip, the ClipSpec, the network
and the file of its weights. Networks whose features can be kept have two methods:
`classify(trunk_features(**inputs))` equals `forward(**inputs)`.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emoscope.core.arrays import FloatArray
from emoscope.core.clipspec import ClipSpec, Uniform
from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import Prepared
from emoscope.media.files import replacing
from emoscope.training.augment import Augmentation
from emoscope.training.networks.dataset import ClipDataset
from emoscope.training.recipe import Recipe

__all__ = ["Features", "Head", "why_not_kept"]

_FORMAT = 1  # to be raised when a network's computation changes


def why_not_kept(recipe: Recipe, spec: ClipSpec, model: nn.Module) -> str:
    """Why the features of a frozen part are computed in every epoch; "" if they can be kept."""
    if not hasattr(model, "classify"):
        return f"{recipe.model.name} mixes them with layers that learn"
    if recipe.augmentation != Augmentation():
        return "the augmentation is random"
    if isinstance(spec.sampling, Uniform) and spec.sampling.jitter:
        return "the choice of frames is random"
    return ""


@dataclass(frozen=True, eq=False)
class Features:
    """The cached features of a run's clips.

    weights   SHA-256 digest of the file of weights
    code      SHA-256 digest of the network's source, if it is not a registered one
    """

    recipe: Recipe
    spec: ClipSpec
    prepared: Prepared
    weights: str
    code: str = ""

    def fill(
        self,
        network: nn.Module,
        clips: ClipDataset,
        device: str,
        report: Callable[[int, int], None],
    ) -> None:
        """Compute the features that are not cached. Raises MediaError, RecipeError.

        report   called with (clips done, clips to do)"""
        missing = [i for i, s in enumerate(clips.samples) if not self._path(s).is_file()]
        if not missing:
            return
        network.to(device).eval()
        for done, index in enumerate(missing):
            report(done, len(missing))
            with replacing(self._path(clips.samples[index])) as part, part.open("wb") as file:
                np.save(file, self._compute(network, clips[index][0], device))
        report(len(missing), len(missing))

    @torch.inference_mode()
    def _compute(self, network: nn.Module, inputs: dict[str, Tensor], device: str) -> FloatArray:
        batch = {name: value[None].to(device) for name, value in inputs.items()}
        features: Tensor = network.trunk_features(**batch)  # type: ignore[operator]
        values = features[0].float().cpu().numpy()
        if not np.isfinite(values).all():
            raise RecipeError(
                f"{self.recipe.model.weights}: these weights give features that are not finite. "
                "Use other weights, or scale the pictures in [clip] as they expect."
            )
        return values

    def read(self, sample: Sample) -> Tensor:
        """The features of one clip. Raises RecipeError for a missing or damaged file."""
        path = self._path(sample)
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except Exception as error:  # numpy raises many types for a damaged file
            raise RecipeError(
                f"{path}: missing or damaged features. Delete the file and --resume the run."
            ) from error

    def _path(self, sample: Sample) -> Path:
        model = self.recipe.model
        facts = {
            "clip": self.prepared.key(sample),
            "spec": self.spec.model_dump(mode="json"),
            "model": [model.name, model.options, model.adapt_channels, *filter(None, [self.code])],
            "weights": self.weights,
            "format": _FORMAT,
        }
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self.prepared.clips.folder / "features" / key[:2] / f"{key}.npy"


class Head(nn.Module):
    """The part of a network behind its frozen features: features -> logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        """(B, ...) -> (B, num_classes)."""
        return self.model.classify(features)  # type: ignore[operator]
