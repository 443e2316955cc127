"""One fold under one seed: its clips, its folder, and the files every kind of model leaves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from emoscope.core.arrays import FloatArray
from emoscope.core.clipspec import ClipSpec, explain
from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import Prepared
from emoscope.training.networks.dataset import ClipDataset, distributions
from emoscope.training.networks.fit import Hardware
from emoscope.training.observer import Observer
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder, write_json, write_table
from emoscope.training.run_lock import check_owner

__all__ = ["FoldTraining", "recipe_clip_spec"]


@dataclass(frozen=True, eq=False)
class FoldTraining:
    """The inputs of one fold's training, and the folder for its results.

    rows   the fold's entry in folds.json: its name, and row numbers of each side
    """

    run: RunFolder
    spec: ClipSpec
    prepared: Prepared
    hardware: Hardware
    rows: Mapping[str, Any]
    seed: int
    observer: Observer

    @property
    def folder(self) -> Path:
        return self.run.part(self.rows["name"], self.seed)

    @property
    def is_exported(self) -> bool:
        """Whether this training becomes the run's bundle."""
        return (self.rows["name"], self.seed) == self.run.exported

    def samples(self, side: str) -> list[Sample]:
        """The samples of a side: "train", "holdout" or "test"."""
        return [self.run.samples[row] for row in self.rows[side]]

    def clips(
        self, samples: Sequence[Sample], features: Callable[[Sample], Tensor] | None = None
    ) -> ClipDataset:
        """The clips of some samples, or their precomputed features."""
        return ClipDataset(
            samples,
            self.run.labels,
            self.spec,
            self.prepared.load,
            self.run.recipe.augmentation,
            self.seed,
            whole=self.prepared.how.keeps_all,
            features=features,
        )

    def check_owner(self) -> None:
        """Check that this process may still write. Raises RecipeError."""
        check_owner(self.run.folder)

    def finish(self, probs: Mapping[str, FloatArray], **facts: Any) -> None:
        """Write predictions {vote: (N, C)}, then fold.json, which marks the fold as finished.

        Raises RecipeError if another process has taken the run folder over."""
        self.check_owner()
        labels = self.run.labels
        for vote, vote_probs in probs.items():
            rows = zip(self.rows["test"], vote_probs.tolist(), strict=True)
            table = [[row, *(f"{p:.8g}" for p in values)] for row, values in rows]
            write_table(self.folder / self.run.predictions_name(vote), ["row", *labels], table)
        # Laplace smoothing: one clip more per class, so that no prior is zero.
        counts = 1 + distributions(self.samples("train"), labels).sum(axis=0)
        prior = list(counts / counts.sum())
        about = {"fold": self.rows["name"], "seed": self.seed, "prior": prior}
        write_json(self.folder / "fold.json", about | facts)


def recipe_clip_spec(recipe: Recipe, own: ClipSpec) -> ClipSpec:
    """Apply the recipe's [clip] changes to a model's own ClipSpec.

    Raises RecipeError for a change of the shapes that the model was built for."""
    settings: dict[str, Any] = own.model_dump(mode="json")
    try:
        spec = ClipSpec.model_validate(settings | recipe.clip)
    except ValidationError as error:
        raise RecipeError(f"{recipe.name}: clip: {explain(error)}.") from None
    if spec.shapes() != own.shapes():
        raise RecipeError(
            f"{recipe.name}: clip gives {spec.shapes()}, but {recipe.model.name} takes "
            f"{own.shapes()}."
        )
    return spec
