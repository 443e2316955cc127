"""A network from a Python file beside the recipe: `[model] name = "mymodule:MyNet"`."""

import difflib
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import RecipeError
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder

__all__ = ["NetworkCode", "check_contract", "code_of_recipe", "code_of_run", "one_line"]


@dataclass(frozen=True)
class NetworkCode:
    """The source of a network: a file, its content, and the class or function that builds it."""

    path: Path
    source: bytes
    builder: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source).hexdigest()

    def load(self) -> Callable[..., Any]:
        """Run the source and return the builder. Raises RecipeError."""
        name = f"emoscope_code_{self.sha256[:16]}"
        module = sys.modules.get(name)
        if module is None:
            module = ModuleType(name)
            module.__file__ = str(self.path)
            sys.modules[name] = module  # before it runs: dataclasses look their module up
            try:
                exec(compile(self.source, str(self.path), "exec"), module.__dict__)
            except Exception as error:  # the file's own
                del sys.modules[name]
                raise RecipeError(f"{self.path}: cannot be imported: {one_line(error)}") from error
        build = getattr(module, self.builder, None)
        if callable(build):
            return build
        own = [
            key for key, value in vars(module).items() if getattr(value, "__module__", "") == name
        ]
        near = difflib.get_close_matches(self.builder, own, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else f" It defines {', '.join(own) or 'none'}."
        raise RecipeError(f"{self.path}: no class or function {self.builder!r}.{hint}")


def code_of_recipe(recipe: Recipe, folder: Path | None, allow_code: bool) -> NetworkCode | None:
    """The source of the recipe's network, from the recipe's folder; None for a registered model.

    Raises RecipeError if code is not allowed, the folder is not known, or there is no file."""
    name = recipe.model.name
    module, colon, builder = name.partition(":")
    if not colon:
        return None
    if not allow_code:
        raise RecipeError(
            f"{recipe.name}: {name} runs Python code from {module}.py. If you trust it, allow it "
            "with --allow-code (in Python: allow_code=True)."
        )
    if not module.isidentifier() or not builder.isidentifier():
        raise RecipeError(
            f"{recipe.name}: model.name {name!r} is not MODULE:CLASS. Write it as 'mymodule:MyNet'."
        )
    if folder is None:
        raise RecipeError(
            f"{recipe.name}: {module}.py is looked for beside the recipe's file. Give the path of "
            "the recipe."
        )
    path = folder / f"{module}.py"
    try:
        return NetworkCode(path, path.read_bytes(), builder)
    except OSError:
        raise RecipeError(
            f"{path}: no such file. {recipe.name} names the network {name}."
        ) from None


def code_of_run(run: RunFolder, allow_code: bool) -> NetworkCode | None:
    """The source kept in a run folder; None for a registered model.

    Raises RecipeError if code is not allowed, or the file has changed since the run started."""
    code = code_of_recipe(run.recipe, run.folder, allow_code)
    if code is not None and code.sha256 != run.info.get("code"):
        raise RecipeError(f"{code.path}: not the code the run started with. Restore the file.")
    return code


def check_contract(network: Any, name: str, num_classes: int) -> None:
    """Raise RecipeError for a network without the interface of `emoscope.models.Network`."""
    if not isinstance(network, nn.Module):
        raise RecipeError(f"{name}: builds a {type(network).__name__}, not a torch.nn.Module.")
    spec = getattr(network, "clip_spec", None)
    if not isinstance(spec, ClipSpec):
        raise RecipeError(
            f"{name}: has no clip_spec. Set self.clip_spec to an emoscope.core.clipspec.ClipSpec."
        )
    example_inputs: Any = getattr(network, "example_inputs", None)
    if not callable(example_inputs):
        raise RecipeError(
            f"{name}: has no method example_inputs(batch). Derive it from emoscope.models.Network."
        )
    try:
        inputs = example_inputs(2)
        with torch.inference_mode():
            logits = network.eval()(**inputs)
    except Exception as error:  # the network's own
        message = f"{name}: forward(**example_inputs(2)) fails: {one_line(error)}"
        raise RecipeError(message) from error
    shapes = {stream: tuple(values.shape[1:]) for stream, values in inputs.items()}
    if shapes != spec.shapes():
        raise RecipeError(f"{name}: example_inputs gives {shapes}, but clip_spec {spec.shapes()}.")
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, num_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise RecipeError(
            f"{name}: forward gives {shape} for a batch of 2, not logits of shape "
            f"(2, {num_classes})."
        )


def one_line(error: Exception) -> str:
    """The error's type and the first line of its message, as a sentence."""
    text = str(error).strip().split("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {text}." if text else f"{type(error).__name__}."
