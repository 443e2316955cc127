"""Train the networks and estimators of a recipe, evaluate and export them.

Needs `emoscope[train]`.

>>> from emoscope.training import train
>>> run = train("recipes/face-cnn.toml", {"folder": "corpus"})  # doctest: +SKIP
>>> run.evaluate()["accuracy"]  # doctest: +SKIP
0.62
>>> run.bundle  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emoscope.core.errors import MissingExtra
from emoscope.core.offline import keep_matplotlib_in_cache

if TYPE_CHECKING:
    from emoscope.training.experiment import resume, train
    from emoscope.training.recipe import Recipe
    from emoscope.training.run import Run

__all__ = ["Recipe", "Run", "resume", "train"]

keep_matplotlib_in_cache()  # before any import of Lightning, which imports matplotlib

_HOMES = {
    "Recipe": "emoscope.training.recipe",
    "Run": "emoscope.training.run",
    "resume": "emoscope.training.experiment",
    "train": "emoscope.training.experiment",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: importing this package does not import torch."""
    if name in _HOMES:
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ImportError as error:
            raise MissingExtra(f"Training ({error.name})", "train") from None
    raise AttributeError(f"module 'emoscope.training' has no attribute {name!r}")
