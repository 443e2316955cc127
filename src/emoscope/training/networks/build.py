"""A recipe's network, and the ClipSpec it is fed by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from emoscope import models
from emoscope.core.clipspec import ClipSpec, explain
from emoscope.core.errors import RecipeError, SpecError, UnknownName
from emoscope.models.checkpoints import freeze, load_checkpoint
from emoscope.training import estimators
from emoscope.training.augment import Augmentation
from emoscope.training.estimators.search import check_search
from emoscope.training.networks.dataset import shrunk
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import Run

__all__ = [
    "beginning",
    "check_growing",
    "clip_spec_of",
    "create_model",
    "is_estimator",
    "loaded",
    "trained_network",
]


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
        if (
            recipe.augmentation != Augmentation()
            and recipe.protocol.name != "augmented-random-80-20"
        ):
            raise RecipeError(
                f"{recipe.name}: {name} is an estimator and has no epochs to draw an augmentation "
                "in: leave it out, or choose a protocol that makes variants."
            )
        if recipe.model.weights is not None:
            raise RecipeError(f"{recipe.name}: model.weights is for networks, {name} has none.")
        if recipe.model.frozen:
            raise RecipeError(f"{recipe.name}: model.frozen is for networks, {name} is none.")
        check_search(name, recipe.model.options, recipe.model.search)
        return True
    if name not in models.MODELS:
        known = (*models.names(), *estimators.ESTIMATORS)
        raise UnknownName(f"{recipe.name}: no model named {name!r}. Known: {', '.join(known)}.")
    if recipe.model.search:
        raise RecipeError(f"{recipe.name}: model.search is for estimators, {name} is a network.")
    if recipe.schedule is None:
        raise RecipeError(f"{recipe.name}: a network needs the tables optimiser and schedule.")
    if recipe.model.frozen and recipe.model.weights is None:
        raise RecipeError(
            f"{recipe.name}: model.frozen needs model.weights, the file of what is not to change. "
            "Add --set model.weights=FILE."
        )
    return False


def create_model(recipe: Recipe, num_classes: int) -> models.Network:
    """The recipe's network. Raises UnknownName, or RecipeError for options it does not take."""
    options = recipe.model.options
    try:
        return models.create(recipe.model.name, num_classes=num_classes, **options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{recipe.name}: model.options do not fit: {error}.") from None


def beginning(recipe: Recipe, num_classes: int) -> tuple[models.Network, str]:
    """The network that a training begins with, frozen as the recipe says, and what became of the
    file of published weights, in a line; "" without one. Raises as `create_model`, and RecipeError
    for a file that does not fit."""
    model, choice = create_model(recipe, num_classes), recipe.model
    if choice.weights is None:
        return model, ""
    told = str(load_checkpoint(model, choice.weights, adapt_channels=choice.adapt_channels))
    if choice.frozen:
        freeze(model)
    return model, told


def check_growing(recipe: Recipe, num_classes: int) -> None:
    """Raises RecipeError where a schedule would show pictures of sizes that the network does not
    take."""
    parts = {part for _, part in recipe.schedule.grow} if recipe.schedule else set()
    if not parts:
        return
    model = create_model(recipe, num_classes).eval()
    try:
        with torch.inference_mode():
            for part in parts:
                model(**shrunk(model.example_inputs(1), part))
    except (RuntimeError, ValueError, SpecError):
        raise RecipeError(
            f"{recipe.name}: schedule.grow shows smaller pictures first, and {recipe.model.name} "
            "takes one size alone: leave it out."
        ) from None


def trained_network(run: Run) -> models.Network:
    """The network that becomes a run's bundle, with its weights, ready to answer.

    Raises RecipeError for a run that is not finished, or whose weights cannot be read."""
    model = create_model(run.recipe, len(run.labels))
    loaded(lambda path: model.load_state_dict(_state(path)), run.weights)
    return model.eval()


def loaded(load: Callable[[Path], Any], weights: Path) -> Any:
    """What `load` reads from a file of weights. Raises RecipeError."""
    try:
        return load(weights)
    except Exception as error:  # of torch's and protobuf's many, for a file that is none
        raise RecipeError(
            f"{weights}: damaged, or not the weights of the recipe beside it. Train it again."
        ) from error


def _state(weights: Path) -> dict[str, Tensor]:
    return torch.load(weights, map_location="cpu", weights_only=True)


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
