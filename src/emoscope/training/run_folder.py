"""The run folder: what training leaves, and what every table can be rebuilt from.

    recipe.json, run.json     the resolved recipe; where, when and with what it ran
    corpus.csv, folds.json    the samples as used (row i is sample i), and who is on which side
    folds/FOLD/seed-S/        metrics.csv, checkpoints/, weights.pt or estimator.onnx, int8.onnx
                              where that becomes the bundle, predictions.csv (by other votes than
                              the recipe's: predictions-VOTE.csv), and fold.json, whose presence
                              means: done
    final/seed-S/             the same, trained on everything, where a protocol has several folds
    evaluation.*, NAME.onnx   by `evaluate` and `export`

Everything is written whole or not at all, so that a killed run can be read and resumed.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
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

__all__ = ["EIGHT_BITS", "FINAL", "Predictions", "Run", "read_run", "write_json", "write_table"]


EIGHT_BITS = "int8.onnx"  # beside weights.pt
FINAL = "final"  # the pseudo-fold that has everything to learn from
_SIDES = ("train", "holdout", "test")
_RUN_FILES = ("recipe.json", "run.json", "corpus.csv", "folds.json")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was said of every test clip, by every fold and seed."""

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
        """(N,) who is seen or heard; "" where the corpus does not say."""
        return np.array([sample.subject for sample in self.samples], dtype=np.str_)


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, open for reading, finished or not."""

    folder: Path
    recipe: Recipe
    info: Mapping[str, Any]  # run.json
    planned: Sequence[Mapping[str, Any]]  # folds.json

    @property
    def folds(self) -> list[Mapping[str, Any]]:
        """Those that are judged: all but the final one."""
        return [rows for rows in self.planned if rows["name"] != FINAL]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.info["labels"])

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The corpus as used, row by row, also where a recording is gone by now. Raises CorpusError
        for a table that cannot be read, RecipeError for one that lacks rows."""
        samples = tuple(read_rows(self.folder / "corpus.csv")[1])
        rows = (max(fold[side], default=-1) for fold in self.planned for side in _SIDES)
        if max(rows, default=-1) >= len(samples):
            raise RecipeError(
                f"{self.folder / 'corpus.csv'}: damaged: rows are missing. Train anew."
            )
        return samples

    def part(self, fold: str, seed: int) -> Path:
        """The folder of a fold's, or the final, training."""
        return part_folder(self.folder, fold, seed)

    @property
    def parts(self) -> list[tuple[str, int]]:
        """Every fold and seed whose predictions are the run's result."""
        return [(fold["name"], seed) for seed in self.recipe.seeds for fold in self.folds]

    @property
    def trainings(self) -> list[tuple[str, int]]:
        """All parts in the order they are trained: the final one, too, under the first seed."""
        first = self.recipe.seeds[0]
        return [
            (rows["name"], seed)
            for seed in self.recipe.seeds
            for rows in self.planned
            if rows["name"] != FINAL or seed == first
        ]

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Trainings that are not done."""
        return [part for part in self.trainings if not (self.part(*part) / "fold.json").is_file()]

    @property
    def exported(self) -> tuple[str, int]:
        """The training whose weights become the bundle: the only fold, or the final one."""
        only = len(self.folds) == 1
        return (self.folds[0]["name"] if only else FINAL), self.recipe.seeds[0]

    @property
    def weights(self) -> Path:
        """The file with what the exported training has learnt: weights.pt, or estimator.onnx.

        Raises RecipeError where that training is not done, or its file is gone."""
        name = "estimator.onnx" if self.info["estimator"] else "weights.pt"
        weights = self.part(*self.exported) / name
        if not (weights.parent / "fold.json").is_file() or not weights.is_file():
            raise RecipeError(f"{self.folder}: not a finished run: no {weights}. {self.remedy}")
        return weights

    def results(self) -> list[dict[str, Any]]:
        """fold.json of every fold that is done."""
        paths = (self.part(*part) / "fold.json" for part in self.parts)
        return [read_json(path) for path in paths if path.is_file()]

    @property
    def votes(self) -> tuple[str, ...]:
        """The votes by which clips were judged, the recipe's first: several where a clip was judged
        on several stretches."""
        chosen = self.recipe.evaluation.vote
        return (chosen, *(vote for vote in self.info.get("votes", ()) if vote != chosen))

    def predictions_name(self, vote: str) -> str:
        """The file in a part's folder that holds the answers by a vote."""
        is_chosen = vote == self.recipe.evaluation.vote
        return "predictions.csv" if is_chosen else f"predictions-{vote}.csv"

    def predictions(self, vote: str | None = None) -> Predictions:
        """Those of all folds that are done, by the recipe's vote or another one.

        Raises UnknownName for a vote there is not, RecipeError for one that was not held, where no
        fold is done, or where one is damaged."""
        vote = vote or self.recipe.evaluation.vote
        _ = VOTES[vote]
        if vote not in self.votes:
            raise RecipeError(
                f"{self.folder}: no answers by {vote}. Train with evaluation.every = n, or with "
                f"evaluation.vote = '{vote}'."
            )
        rows: list[int] = []
        probs: list[list[float]] = []
        seeds: list[int] = []
        folds: list[str] = []
        for fold, seed in self.parts:
            if (self.part(fold, seed) / "fold.json").is_file():
                for row, answer in self._answers(fold, seed, vote):
                    rows.append(row)
                    probs.append(answer)
                    seeds.append(seed)
                    folds.append(fold)
        if not rows:
            raise RecipeError(f"{self.folder}: no fold is done. {self.remedy}")
        samples = tuple(self.samples[row] for row in rows)
        return Predictions(
            self.labels, samples, np.array(probs), np.array(seeds, dtype=int), tuple(folds)
        )

    def _answers(self, fold: str, seed: int, vote: str) -> list[tuple[int, list[float]]]:
        """A fold's predictions: a row's number and its probabilities."""
        path = self.part(fold, seed) / self.predictions_name(vote)
        (expected,) = (rows["test"] for rows in self.folds if rows["name"] == fold)
        try:
            table = read_table(path)
            found = [(int(r["row"]), [float(r[label]) for label in self.labels]) for r in table]
        except (KeyError, TypeError, ValueError):
            found = []
        if sorted(row for row, _ in found) != sorted(expected):
            raise RecipeError(
                f"{path}: damaged: not an answer to each of {len(expected)} test clips. Delete "
                f"{path.parent}. {self.remedy}"
            )
        return found

    def histories(self) -> dict[tuple[str, int], list[dict[str, str]]]:
        """{(fold, seed): rows of metrics.csv}, one an epoch; estimators have none."""
        paths = {part: self.part(*part) / "metrics.csv" for part in self.parts}
        return {part: read_table(path) for part, path in paths.items() if path.is_file()}

    @property
    def remedy(self) -> str:
        """How to finish the run."""
        return f"Go on with `emoscope train --resume {self.folder}`."


def read_run(folder: Path) -> Run:
    """Open a run folder. Raises RecipeError: what is missing or unreadable."""
    missing = [name for name in _RUN_FILES if not (folder / name).is_file()]
    if missing:
        raise RecipeError(f"{folder}: not a run folder: {', '.join(missing)} missing.")
    try:
        recipe = Recipe.model_validate(read_json(folder / "recipe.json"))
    except ValidationError as error:
        raise RecipeError(f"{folder / 'recipe.json'}: {explain(error)}.") from None
    return Run(folder, recipe, read_json(folder / "run.json"), read_json(folder / "folds.json"))


def part_folder(run: Path, fold: str, seed: int) -> Path:
    """Where a fold's training lies in a run folder: a name for it that is safe for a file system
    and no other fold's."""
    name = quote(fold, safe=" ")
    if not name.strip("."):
        name = name.replace(".", "%2E")
    return (run if fold == FINAL else run / "folds") / name / f"seed-{seed}"


def read_json(path: Path) -> Any:
    """Raises RecipeError for a file that is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: not readable: {error}.") from None


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all. Raises MediaError."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV. Raises RecipeError."""
    try:
        with path.open(newline="", encoding="utf-8") as table:
            return list(csv.DictReader(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"{path}: not readable: {error}.") from None


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV whole or not at all. Raises MediaError."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([header, *rows])
