"""The run folder: the files a training leaves, from which every table can be rebuilt.

    recipe.json, run.json     the resolved recipe; where, when and with which versions it ran
    corpus.csv, folds.json    the samples (row i is sample i) and the rows of each fold's sides
    NAME.py                   the source of a network that the recipe names as "NAME:CLASS"
    folds/FOLD/seed-S/        metrics.csv, checkpoints/, weights.pt or estimator.onnx, int8.onnx
                              for the training that becomes the bundle, predictions.csv (for other
                              votes than the recipe's: predictions-VOTE.csv), and fold.json, which
                              is written last and marks the fold as finished
    final/seed-S/             the same for the training on all samples, if there are several folds
    evaluation.*, NAME.onnx   written by `evaluate` and `export`
    .lock                     the process that trains, while it does (`run_lock`)

Files are written under a temporary name and renamed, so a killed run can be read and resumed.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO, TypeVar
from urllib.parse import quote

import numpy as np
from pydantic import ValidationError

from emoscope.core.arrays import FloatArray, IntArray, StrArray
from emoscope.core.clipspec import explain
from emoscope.core.errors import RecipeError
from emoscope.core.votes import VOTES
from emoscope.corpora.manifest import Sample, read_rows
from emoscope.media.files import replacing
from emoscope.training.recipe import Recipe
from emoscope.training.run_lock import holder

__all__ = [
    "EIGHT_BITS",
    "FINAL",
    "RUNS",
    "Predictions",
    "RunFolder",
    "part_folder",
    "read_json",
    "read_run",
    "read_table",
    "write_json",
    "write_table",
]

EIGHT_BITS = "int8.onnx"  # beside weights.pt
RUNS = Path("runs")  # run folders are written here by default
FINAL = "final"  # name of the training on all samples
_SIDES = ("train", "holdout", "test")
_RUN_FILES = ("recipe.json", "run.json", "corpus.csv", "folds.json")

Content = TypeVar("Content")
Line = TypeVar("Line")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Probabilities for every test clip, from every fold and seed."""

    labels: tuple[str, ...]
    samples: tuple[Sample, ...]  # N
    probs: FloatArray  # (N, C)
    seeds: IntArray  # (N,)
    folds: tuple[str, ...]  # N

    @property
    def truth(self) -> IntArray:
        """(N,) column of each clip's label."""
        return np.array([self.labels.index(sample.label) for sample in self.samples], dtype=int)

    @property
    def predicted(self) -> IntArray:
        """(N,) column of the largest probability."""
        return self.probs.argmax(axis=1)

    @property
    def subjects(self) -> StrArray:
        """(N,) the person in each clip; "" where the corpus does not say."""
        return np.array([sample.subject for sample in self.samples], dtype=np.str_)


@dataclass(frozen=True, eq=False, repr=False)
class RunFolder:
    """A run folder opened for reading; the run may be unfinished. Needs no torch."""

    folder: Path
    recipe: Recipe
    info: Mapping[str, Any]  # run.json
    planned: Sequence[Mapping[str, Any]]  # folds.json

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"

    @property
    def folds(self) -> list[Mapping[str, Any]]:
        """The folds with a test side: all but the final training."""
        return [rows for rows in self.planned if rows["name"] != FINAL]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.info["labels"])

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The rows of corpus.csv, including recordings that are gone by now.

        Raises CorpusError for an unreadable table, RecipeError for missing rows."""
        samples = tuple(read_rows(self.folder / "corpus.csv")[1])
        rows = (max(fold[side], default=-1) for fold in self.planned for side in _SIDES)
        if max(rows, default=-1) >= len(samples):
            raise RecipeError(
                f"{self.folder / 'corpus.csv'}: damaged: rows are missing. Train again."
            )
        return samples

    def part(self, fold: str, seed: int) -> Path:
        """The folder of one training: a fold, or FINAL, under a seed."""
        return part_folder(self.folder, fold, seed)

    @property
    def parts(self) -> list[tuple[str, int]]:
        """Every (fold, seed) with predictions."""
        return [(fold["name"], seed) for seed in self.recipe.seeds for fold in self.folds]

    @property
    def trainings(self) -> list[tuple[str, int]]:
        """Every (fold, seed) in training order, including the final training (first seed only)."""
        first = self.recipe.seeds[0]
        return [
            (rows["name"], seed)
            for seed in self.recipe.seeds
            for rows in self.planned
            if rows["name"] != FINAL or seed == first
        ]

    @property
    def missing(self) -> list[tuple[str, int]]:
        """The trainings that are not finished."""
        return [part for part in self.trainings if not (self.part(*part) / "fold.json").is_file()]

    @property
    def exported(self) -> tuple[str, int]:
        """The training that becomes the bundle: the only fold, or the final training."""
        only = len(self.folds) == 1
        return (self.folds[0]["name"] if only else FINAL), self.recipe.seeds[0]

    def exported_file(self, name: str) -> Path:
        """The path of a file of the exported training.

        Raises RecipeError if that training is not finished or the file is missing."""
        path = self.part(*self.exported) / name
        if not (path.parent / "fold.json").is_file() or not path.is_file():
            raise RecipeError(f"{self.folder}: not a finished run: no {path}. {self.remedy}")
        return path

    def load_exported(self, name: str, load: Callable[[Path], Content]) -> Content:
        """Read a file of the exported training with `load`.

        Raises RecipeError if it is missing or `load` fails."""
        path = self.exported_file(name)
        try:
            return load(path)
        except Exception as error:  # torch and protobuf raise many types for a damaged file
            raise RecipeError(
                f"{path}: damaged, or not the weights of the recipe beside it. Train it again."
            ) from error

    def results(self) -> list[dict[str, Any]]:
        """fold.json of every finished fold."""
        paths = (self.part(*part) / "fold.json" for part in self.parts)
        return [read_json(path) for path in paths if path.is_file()]

    @property
    def votes(self) -> tuple[str, ...]:
        """The votes that predictions exist for, the recipe's first. There are several if clips
        were evaluated in blocks of frames."""
        chosen = self.recipe.evaluation.vote
        return (chosen, *(vote for vote in self.info.get("votes", ()) if vote != chosen))

    def predictions_name(self, vote: str) -> str:
        """The file in a training's folder with the predictions of a vote."""
        is_chosen = vote == self.recipe.evaluation.vote
        return "predictions.csv" if is_chosen else f"predictions-{vote}.csv"

    def predictions(self, vote: str | None = None) -> Predictions:
        """Predictions of all finished folds; `vote` None is the recipe's vote.

        Raises UnknownName for an unknown vote, RecipeError for a vote without predictions, if no
        fold is finished, or for a damaged file.

        >>> from emoscope.training import Run
        >>> run = Run.open("runs/face-cnn")  # doctest: +SKIP
        >>> run.predictions().probs.shape  # doctest: +SKIP
        (480, 6)
        """
        vote = vote or self.recipe.evaluation.vote
        _ = VOTES[vote]
        if vote not in self.votes:
            raise RecipeError(
                f"{self.folder}: no predictions by the vote {vote}. Train with evaluation.every = "
                f"n, or with evaluation.vote = '{vote}'."
            )
        rows: list[int] = []
        probs: list[list[float]] = []
        seeds: list[int] = []
        folds: list[str] = []
        for fold, seed in self.parts:
            if (self.part(fold, seed) / "fold.json").is_file():
                for row, row_probs in self._fold_predictions(fold, seed, vote):
                    rows.append(row)
                    probs.append(row_probs)
                    seeds.append(seed)
                    folds.append(fold)
        if not rows:
            raise RecipeError(f"{self.folder}: no fold is finished. {self.remedy}")
        samples = tuple(self.samples[row] for row in rows)
        return Predictions(
            self.labels, samples, np.array(probs), np.array(seeds, dtype=int), tuple(folds)
        )

    def _fold_predictions(self, fold: str, seed: int, vote: str) -> list[tuple[int, list[float]]]:
        """(row, probabilities) of a fold's test clips. Raises RecipeError for a damaged file."""
        path = self.part(fold, seed) / self.predictions_name(vote)
        (expected,) = (rows["test"] for rows in self.folds if rows["name"] == fold)
        try:
            (_, *columns), *lines = _lines(path, csv.reader)
            # By place, since a label may be called "row".
            places = [1 + columns.index(label) for label in self.labels]
            predictions = [
                (int(line[0]), [float(line[place]) for place in places]) for line in lines
            ]
        except (IndexError, ValueError):
            predictions = []
        if sorted(row for row, _ in predictions) != sorted(expected):
            raise RecipeError(
                f"{path}: damaged: not one prediction for each of {len(expected)} test clips. "
                f"Delete {path.parent}. {self.remedy}"
            )
        return predictions

    def histories(self) -> dict[tuple[str, int], list[dict[str, str]]]:
        """{(fold, seed): rows of metrics.csv}, one row per epoch; empty for estimators."""
        paths = {part: self.part(*part) / "metrics.csv" for part in self.parts}
        return {part: read_table(path) for part, path in paths.items() if path.is_file()}

    @property
    def remedy(self) -> str:
        """How to finish the run, for error messages."""
        if owner := holder(self.folder):
            return f"It is in use by {owner}. Wait for it."
        return f"Resume it with `emoscope train --resume {self.folder}`."


def read_run(folder: Path) -> RunFolder:
    """Open a run folder. Raises RecipeError for missing or unreadable files."""
    missing = [name for name in _RUN_FILES if not (folder / name).is_file()]
    if missing:
        raise RecipeError(f"{folder}: not a run folder: {', '.join(missing)} missing.")
    try:
        recipe = Recipe.model_validate(read_json(folder / "recipe.json"))
    except ValidationError as error:
        raise RecipeError(f"{folder / 'recipe.json'}: {explain(error)}.") from None
    info, planned = read_json(folder / "run.json"), read_json(folder / "folds.json")
    return RunFolder(folder, recipe, info, planned)


def part_folder(run: Path, fold: str, seed: int) -> Path:
    """The folder of one training in a run folder. A fold's name is escaped for the file system;
    different names give different folders."""
    name = quote(fold, safe=" ")
    if not name.strip("."):
        name = name.replace(".", "%2E")
    return (run if fold == FINAL else run / "folds") / name / f"seed-{seed}"


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises RecipeError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: not readable: {error}.") from None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically. Raises MediaError."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file. Raises RecipeError."""
    return _lines(path, csv.DictReader)


def _lines(path: Path, reader: Callable[[TextIO], Iterable[Line]]) -> list[Line]:
    """Read a CSV file with `reader`. Raises RecipeError."""
    try:
        with path.open(newline="", encoding="utf-8") as table:
            return list(reader(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"{path}: not readable: {error}.") from None


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file atomically. Raises MediaError."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([header, *rows])
