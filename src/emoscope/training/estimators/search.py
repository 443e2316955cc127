"""Search of an estimator's settings by cross-validation over persons of the training side.

Every fold of a run, and its final training, searches separately: the test side is never used.
"""

import difflib
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline

from emoscope.core.arrays import FloatArray, IntArray, StrArray
from emoscope.core.errors import RecipeError
from emoscope.training.estimators.pipelines import (
    ESTIMATORS,
    Features,
    create,
    folds_by_person,
    matrix,
    seeded,
)
from emoscope.training.metrics import uar

__all__ = [
    "Choice",
    "Search",
    "candidates",
    "check_options",
    "choose",
    "choose_pipeline",
    "words",
]

Settings = dict[str, Any]
Search = Sequence[Mapping[str, Sequence[Any]]]  # tables of values to try, as in a recipe


@dataclass(frozen=True)
class Choice:
    """The chosen settings, and the unweighted average recall (UAR) of all candidates."""

    chosen: Settings
    tried: tuple[tuple[Settings, float], ...]

    def facts(self) -> dict[str, Any]:
        """The entries for fold.json."""
        tried = [{"settings": settings, "uar": score} for settings, score in self.tried]
        return {"chosen": self.chosen, "tried": tried}


def candidates(search: Search) -> Iterator[Settings]:
    """Yield every combination of each table's values; the last option changes fastest."""
    for table in search:
        for values in itertools.product(*table.values()):
            yield dict(zip(table, values, strict=True))


def check_options(name: str, options: Mapping[str, Any], search: Search) -> None:
    """Raise RecipeError for an unknown option of an estimator, an option that is both set and
    searched, or a search with only one candidate."""
    known = list(inspect.signature(ESTIMATORS[name].build).parameters)
    searched = list(itertools.chain.from_iterable(search))
    for table, keys in (("options", options), ("search", searched)):
        for key in keys:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
                raise RecipeError(f"{name}: model.{table}: no option {key!r}. {hint}")
    for key in searched:
        if key in options:
            raise RecipeError(
                f"{name}: {key} is both in model.options and in model.search. Remove one."
            )
    if search and len(list(itertools.islice(candidates(search), 2))) < 2:
        raise RecipeError(f"{name}: model.search has one candidate. Put it into model.options.")


def choose(
    name: str,
    options: Mapping[str, Any],
    search: Search,
    features: Mapping[str, FloatArray],
    truth: IntArray,
    subjects: StrArray,
    seed: int,
) -> Choice:
    """Choose the candidate with the highest UAR (the first of equals) on up to five inner folds of
    whole persons. The arguments are those of `estimators.fit`.

    The UAR is computed over the predictions of all inner folds together, by the classifier before
    calibration. Raises as `estimators.fit`, and RecipeError for values that do not fit.
    """
    vector = ESTIMATORS[name].vector
    build = functools.partial(create, name, **options)
    return choose_pipeline(name, build, vector, search, features, truth, subjects, seed)


def choose_pipeline(
    name: str,
    build: Callable[..., Pipeline],
    vector: Features,
    search: Search,
    features: Mapping[str, FloatArray],
    truth: IntArray,
    subjects: StrArray,
    seed: int,
) -> Choice:
    """`choose` for a pipeline that is not registered, on any vector."""
    inputs = matrix(name, vector, features)
    columns, classes = np.unique(truth, return_inverse=True)
    folds = folds_by_person(name, columns, classes, subjects, seed)
    tried = []
    for settings in candidates(search):
        try:
            predicted = cross_val_predict(
                seeded(build(**settings), seed), inputs, classes, cv=folds
            )
        except (TypeError, ValueError) as error:
            raise RecipeError(
                f"{name}: model.search: invalid {words(settings)}: {str(error).rstrip('.')}."
            ) from None
        tried.append((settings, uar(classes, predicted)))
    return Choice(max(tried, key=lambda one: one[1])[0], tuple(tried))


def words(settings: Mapping[str, Any]) -> str:
    """Format settings for messages: "C = 0.03, kernel = linear"."""
    return ", ".join(f"{key} = {value}" for key, value in settings.items())
