"""Build a recipe's network, with its published weights."""

from typing import cast

from emoscope import models
from emoscope.core.errors import RecipeError
from emoscope.models import Network
from emoscope.models.checkpoints import freeze, load_checkpoint
from emoscope.training.networks.code import NetworkCode, one_line
from emoscope.training.recipe import Recipe

__all__ = ["create_network", "initial_network"]


def create_network(recipe: Recipe, num_classes: int, code: NetworkCode | None = None) -> Network:
    """Build the recipe's network with random weights.

    code   the source of a network that is not registered
    Raises UnknownName, or RecipeError for options that the network does not have."""
    name, options = recipe.model.name, recipe.model.options
    if code is not None:
        build = code.load()
        try:
            return cast(Network, build(num_classes=num_classes, **options))
        except Exception as error:  # the network's own
            reason = one_line(error)
            raise RecipeError(f"{recipe.name}: {name} cannot be built: {reason}") from error
    try:
        return models.create(name, num_classes=num_classes, **options)
    except (TypeError, ValueError) as error:
        reason = str(error) if str(error).endswith((".", "?")) else f"{error}."
        raise RecipeError(f"{recipe.name}: invalid model.options: {reason}") from None


def initial_network(
    recipe: Recipe, num_classes: int, code: NetworkCode | None = None
) -> tuple[Network, str]:
    """The network at the start of training, and a line about its published weights.

    Published weights are loaded and frozen if the recipe says so; without any the line is "".
    Raises as `create_network`, and RecipeError for a file that does not fit."""
    network, choice = create_network(recipe, num_classes, code), recipe.model
    if choice.weights is None:
        return network, ""
    note = str(load_checkpoint(network, choice.weights, adapt_channels=choice.adapt_channels))
    if choice.frozen:
        freeze(network)
    return network, note
