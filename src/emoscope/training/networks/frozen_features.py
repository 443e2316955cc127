"""What the frozen part of a network makes of each clip: computed once, for all epochs and folds.

CACHE/features/ab/ab12....npy     of one clip, float32

It lies beside the clips, by the digest of all that decides it: the clip, the ClipSpec, the network
and the file of its weights. `vgg16`, `c3d`, `vgg16-bilstm` and `vgg19-lstm` can be asked in two
steps, `classify(trunk_features(**inputs))`; to add a network, give it these two.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Uniform
from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import Prepared
from emoscope.media.files import replacing
from emoscope.training.augment import Augmentation
from emoscope.training.networks.dataset import ClipDataset
from emoscope.training.recipe import Recipe

__all__ = ["Features", "Head", "why_not_kept"]

_FORMAT = 1  # raise it when a network computes otherwise


def why_not_kept(recipe: Recipe, spec: ClipSpec, model: nn.Module) -> str:
    """Why the features of a frozen part are computed anew at every epoch; "" where they are not."""
    if not hasattr(model, "classify"):
        return f"{recipe.model.name} mixes them with what learns"
    if recipe.augmentation != Augmentation():
        return "the augmentation is drawn anew"
    if isinstance(spec.sampling, Uniform) and spec.sampling.jitter:
        return "the frames are drawn anew"
    return ""


@dataclass(frozen=True, eq=False)
class Features:
    """The features of a corpus's clips, and where they lie. `weights` is the file's digest."""

    recipe: Recipe
    spec: ClipSpec
    prepared: Prepared
    weights: str

    def fill(self, model: nn.Module, clips: ClipDataset, tell: Callable[[int, int], None]) -> None:
        """Compute what is not there yet, clip by clip. Raises MediaError, RecipeError."""
        missing = [i for i, s in enumerate(clips.samples) if not self._path(s).is_file()]
        for done, index in enumerate(missing):
            tell(done, len(missing))
            with replacing(self._path(clips.samples[index])) as part, part.open("wb") as file:
                np.save(file, self._asked(model, clips[index][0]))
        tell(len(missing), len(missing))

    @torch.inference_mode()
    def _asked(self, model: nn.Module, inputs: dict[str, Tensor]) -> np.ndarray:
        device = next(model.parameters()).device
        one = {name: value[None].to(device) for name, value in inputs.items()}
        features: Tensor = model.eval().trunk_features(**one)  # type: ignore[operator]
        values = features[0].float().cpu().numpy()
        if not np.isfinite(values).all():
            raise RecipeError(
                f"{self.recipe.model.weights}: makes features that are not numbers. Give other "
                "weights, or pictures that are scaled as theirs were."
            )
        return values

    def read(self, sample: Sample) -> Tensor:
        """Those of one clip. Raises RecipeError for a file that is gone or damaged."""
        path = self._path(sample)
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except Exception as error:  # numpy raises all sorts of things for a damaged file
            raise RecipeError(
                f"{path}: features that are gone or damaged. Delete it and --resume the run."
            ) from error

    def _path(self, sample: Sample) -> Path:
        model = self.recipe.model
        facts = {
            "clip": self.prepared.key(sample),
            "spec": self.spec.model_dump(mode="json"),
            "model": [model.name, model.options, model.adapt_channels],
            "weights": self.weights,
            "format": _FORMAT,
        }
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self.prepared.clips.folder / "features" / key[:2] / f"{key}.npy"


class Head(nn.Module):
    """What is left to learn of a network whose frozen part has been asked: features -> logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        """(B, ...) -> (B, num_classes)."""
        return self.model.classify(features)  # type: ignore[operator]
