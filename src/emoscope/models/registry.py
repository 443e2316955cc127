"""The table of networks, and building one by name."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emoscope.core.errors import SpecError
from emoscope.core.registry import Registry
from emoscope.models.network import Network

__all__ = ["MODELS", "ModelEntry", "create", "names", "small"]


@dataclass(frozen=True)
class ModelEntry:
    """How to build a network.

    build   a `Network` class, or a function that returns one. All of its parameters have
            defaults; one is `num_classes`
    small   options of a small version, for tests and tutorials
    """

    build: Callable[..., Network]
    small: Mapping[str, Any] = field(default_factory=dict)


MODELS: Registry[ModelEntry] = Registry("model", package="emoscope.models", group="emoscope.models")


def names() -> list[str]:
    """Return the names of all networks.

    >>> from emoscope import models
    >>> "face-cnn" in models.names()
    True
    """
    return list(MODELS)


def create(name: str, num_classes: int | None = None, **options: Any) -> Network:
    """Build a network with freshly initialised weights.

    name          one of `names()`
    num_classes   None uses the network's default, the number of classes in its paper
    options       parameters of the network, see its docstring

    Raises UnknownName for an unknown network, SpecError for an option that it does not have or
    a value that it does not accept.

    >>> from emoscope import models
    >>> model = models.create("face-gru", num_classes=6, frames=8, width=0.5)
    Traceback (most recent call last):
        ...
    emoscope.core.errors.SpecError: face-gru has no option 'width'. Did you mean 'widths'?
    >>> model = models.create("face-gru", num_classes=6, frames=8)
    >>> model.clip_spec.shapes()
    {'gray': (8, 1, 48, 48)}
    >>> model.eval()(**model.example_inputs(batch=2)).shape
    torch.Size([2, 6])
    """
    build = MODELS[name].build
    if num_classes is not None:
        options["num_classes"] = num_classes
    parameters = inspect.signature(build).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options:
            if option not in parameters:
                near = difflib.get_close_matches(option, parameters, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(parameters)}."
                raise SpecError(f"{name} has no option {option!r}. {hint}")
    return build(**options)


def small(name: str) -> dict[str, Any]:
    """Return the options of a small version of a network, for tests and tutorials.

    Raises UnknownName.

    >>> from emoscope import models
    >>> models.small("c3d")
    {'width': 0.0625, 'size_px': 32}
    >>> small_c3d = models.create("c3d", num_classes=6, **models.small("c3d"))
    """
    return dict(MODELS[name].small)
