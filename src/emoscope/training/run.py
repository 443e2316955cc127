"""A training run in Python: predictions, evaluation and bundle."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.export.bundle import export_run
from emoscope.training.run_folder import RunFolder, read_run

__all__ = ["Run"]


@dataclass(frozen=True, eq=False, repr=False)
class Run(RunFolder):
    """A run folder that can be evaluated and exported.

    allow_code   the network may be built from the Python source in the folder, if its recipe names
                 one that is not registered

    >>> from emoscope.training import Run
    >>> run = Run.open("runs/face-cnn")  # doctest: +SKIP
    >>> run.evaluate()["uar"]  # doctest: +SKIP
    0.61
    >>> run.bundle.labels  # doctest: +SKIP
    ('anger', 'happiness', 'neutral')
    """

    allow_code: bool = False

    @classmethod
    def open(cls, folder: Path | str, *, allow_code: bool = False) -> Self:
        """Open a run folder. Raises RecipeError for missing or unreadable files."""
        run = read_run(Path(folder))
        return cls(run.folder, run.recipe, run.info, run.planned, allow_code)

    def evaluate(self) -> dict[str, Any]:
        """Compute accuracy, UAR, macro-F1 and more from the predictions.

        Writes evaluation.json, .md, .csv and .html into the folder. Returns the figures of
        evaluation.json. Raises RecipeError for a run that is not finished."""
        return evaluate(self.folder)["figures"]

    @property
    def bundle_path(self) -> Path:
        """NAME.onnx in the run's folder."""
        return self.folder / f"{self.recipe.name}.onnx"

    @cached_property
    def bundle(self) -> Bundle:
        """The run's bundle; evaluated and exported first if it has not been.

        Raises RecipeError for a run that is not finished, BundleError."""
        if not self.bundle_path.is_file():
            if not (self.folder / "evaluation.json").is_file():
                self.evaluate()
            export_run(self.folder, self.bundle_path, allow_code=self.allow_code)
        return load_bundle(self.bundle_path)
