"""A recipe's network, and the ClipSpec it is fed by."""

from typing import Any

from pydantic import ValidationError
from torch import nn

from emoscope import models
from emoscope.core.clipspec import ClipSpec, explain
from emoscope.core.errors import RecipeError, UnknownName
from emoscope.training import estimators
from emoscope.training.recipe import Recipe

__all__ = ["clip_spec_of", "create_model", "is_estimator"]


def is_estimator(recipe: Recipe) -> bool:
    """Whether the recipe's model is of scikit-learn. Raises UnknownName for one that is neither,
    RecipeError where the recipe does not suit its kind."""
    name = recipe.model.name
    if name in estimators.ESTIMATORS:
        if recipe.schedule is not None:
            raise RecipeError(
                f"{recipe.name}: {name} is an estimator and is fitted in one go: leave optimiser "
                "and schedule out."
            )
        return True
    if name not in models.MODELS:
        known = (*models.names(), *estimators.ESTIMATORS)
        raise UnknownName(f"{recipe.name}: no model named {name!r}. Known: {', '.join(known)}.")
    if recipe.schedule is None:
        raise RecipeError(f"{recipe.name}: a network needs the tables optimiser and schedule.")
    return False


def create_model(recipe: Recipe, num_classes: int) -> nn.Module:
    """The recipe's network. Raises UnknownName, or RecipeError for options it does not take."""
    options = recipe.model.options
    try:
        return models.create(recipe.model.name, num_classes=num_classes, **options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{recipe.name}: model.options do not fit: {error}.") from None


def clip_spec_of(recipe: Recipe, own: ClipSpec) -> ClipSpec:
    """The model's own ClipSpec with the recipe's changes.

    Raises RecipeError for a change that gives the model other shapes than it was built for."""
    settings: dict[str, Any] = own.model_dump(mode="json")
    try:
        spec = ClipSpec.model_validate(settings | recipe.clip)
    except ValidationError as error:
        raise RecipeError(f"{recipe.name}: clip: {explain(error)}.") from None
    if spec.shapes() != own.shapes():
        raise RecipeError(
            f"{recipe.name}: clip gives {spec.shapes()}, {recipe.model.name} takes {own.shapes()}."
        )
    return spec
