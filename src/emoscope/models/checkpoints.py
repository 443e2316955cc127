"""Published weights, from a file that the user gives.

ImageNet's as torchvision has them (ResNet, VGG), VGG-Face's in the two spellings of its
conversions (conv_1_1 and conv1_1 ... fc8), C3D's of Sports-1M. Names are mapped layer by layer;
what does not fit is refused. Files are read as tensors alone: nothing in them is run.

Pictures must be as the file's network had them, which a recipe says in its [clip]: torchvision's
are (x - mean) / std of ImageNet, as the defaults here; VGG-Face's and Sports-1M's are x in 0 to 255
less a mean, so std = 1/255, and the mean of a grey VGG-Face picture is 0.428.
"""

import importlib
import pickle
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emoscope.core.errors import RecipeError

__all__ = ["Loaded", "Published", "freeze", "load_checkpoint", "read_tensors", "trunks"]

_COUNTER = "num_batches_tracked"  # of batch normalisation; old files have none
_NAMED = 3  # of the keys that do not fit


@dataclass(frozen=True)
class Published:
    """How a network's published files name its layers, kept by it as `published`.

    first     the layer that sees the picture
    head      fully connected layers, in order: a network may end before them, and the last may
              have other classes than the file
    aliases   {another name of a layer: its name in the network}
    """

    first: str
    head: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """What became of a file. `fresh` are the network's tensors that it did not fill, as its classes
    are others; `unused` the file's that belong to layers which the network ends before."""

    path: Path
    filled: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{self.path}: {len(self.filled)} tensors loaded"]
        if self.fresh:
            parts.append(f"fresh, for other classes: {', '.join(self.fresh)}")
        if self.unused:
            parts.append(f"not needed: {', '.join(self.unused)}")
        return "; ".join(parts)


def load_checkpoint(module: nn.Module, path: Path, *, adapt_channels: bool = False) -> Loaded:
    """Fill a network, or every trunk in it that has published weights, from a file.

    The last layer stays as it is where the file has another number of classes, or no such layer.
    With `adapt_channels` a first layer of another number of input channels gets, for each of them,
    the mean over the file's (Wang et al., "Temporal segment networks", ECCV 2016).

    Raises RecipeError; then nothing was changed."""
    parts = trunks(module)
    if not parts:
        raise RecipeError(f"{path}: {type(module).__name__} has no part with published weights.")
    state = read_tensors(path)
    plans = {name: _plan(trunk, state, path, adapt_channels) for name, trunk in parts.items()}
    with torch.no_grad():
        for plan in plans.values():
            for mine, theirs in plan.copies:
                mine.copy_(theirs)
    return Loaded(
        path,
        filled=tuple(_joined(name, key) for name, plan in plans.items() for key in plan.filled),
        fresh=tuple(_joined(name, key) for name, plan in plans.items() for key in plan.fresh),
        unused=tuple(dict.fromkeys(key for plan in plans.values() for key in plan.unused)),
    )


def trunks(module: nn.Module) -> dict[str, nn.Module]:
    """The parts of a network that have published weights, or all of it, by name."""
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(getattr(part, "published", None), Published)
    }


def freeze(module: nn.Module) -> None:
    """No gradients for what has published weights, but for a last layer of classes: it may be
    fresh. The statistics of batch normalisation, and dropout, rest in eval mode, which is the
    training's to keep them in."""
    for trunk in trunks(module).values():
        published: Published = trunk.published  # type: ignore[assignment]
        for name, weights in trunk.named_parameters():
            weights.requires_grad_(name.rpartition(".")[0] == published.head[-1])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A state dict by name, out of a wrapping "state_dict" and without "module." before all names.

    Raises RecipeError for a file that cannot be read, holds more than tensors, or none."""
    content = _read(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise RecipeError(f"{path}: no state dict. Save a network's state_dict() to it.")
    for key, value in content.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise RecipeError(
                f"{path}: {_shown(key)} is not a plain tensor under a name. Save a network's "
                "state_dict() to it."
            )
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def _read(path: Path) -> Any:
    if not path.exists():
        raise RecipeError(f"{path}: no such file. Weights are read from a file that you download.")
    if not path.is_file():
        raise RecipeError(f"{path}: not a file. Give the file of the weights.")
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path).load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except RecipeError:
        raise
    except pickle.UnpicklingError:
        raise RecipeError(
            f"{path}: holds other things than tensors, or is no checkpoint; nothing in it was run. "
            "Save the network's state_dict() instead, or a .safetensors file."
        ) from None
    except Exception as error:  # torch raises all sorts of things for a damaged file
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise RecipeError(
            f"{path}: damaged, or no checkpoint ({reason}). Download it again."
        ) from None


def _safetensors(path: Path) -> Any:
    try:
        return importlib.import_module("safetensors.torch")
    except ImportError:
        raise RecipeError(
            f"{path}: reading it needs an optional package: pip install safetensors"
        ) from None


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )


@dataclass
class _Plan:
    """What is to be copied into one trunk, and what does not fit."""

    copies: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    filled: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    other_channels: bool = False


def _plan(trunk: nn.Module, state: dict[str, Tensor], path: Path, adapt: bool) -> _Plan:
    published: Published = trunk.published  # type: ignore[assignment]
    theirs = _renamed(state, published.aliases, path)
    own = trunk.state_dict(keep_vars=True)
    last = published.head[-1]
    other_classes = _classes(own, last) != _classes(theirs, last)
    plan = _Plan()
    for key, mine in own.items():
        layer, value = key.rpartition(".")[0], theirs.get(key)
        if layer == last and other_classes:
            plan.fresh.append(key)
        elif value is None:
            if not key.endswith(_COUNTER):
                plan.missing.append(key)
        else:
            _match(plan, key, mine, value, adapt if layer == published.first else None)
    for key in theirs.keys() - own.keys():
        known = key.rpartition(".")[0] in published.head
        (plan.unused if known else plan.unexpected).append(key)
    _refuse(plan, type(trunk).__name__, path)
    plan.unused.sort()
    return plan


def _match(plan: _Plan, key: str, mine: Tensor, value: Tensor, adapt: bool | None) -> None:
    """`adapt` None: not the first layer."""
    if mine.shape == value.shape:
        plan.copies.append((mine, value))
        plan.filled.append(key)
        return
    channels = adapt is not None and _but_channels(mine) == _but_channels(value)
    if channels and adapt:
        plan.copies.append((mine, value.mean(1, keepdim=True).expand(mine.shape)))
        plan.filled.append(key)
        return
    plan.other_channels |= channels
    plan.misshapen.append(f"{key} {tuple(value.shape)}, not {tuple(mine.shape)}")


def _refuse(plan: _Plan, network: str, path: Path) -> None:
    """Raises RecipeError where something does not fit."""
    wrong = {
        "missing": plan.missing,
        "unexpected": sorted(plan.unexpected),
        "of the wrong shape": plan.misshapen,
    }
    told = [f"{len(keys)} {what} ({_some(keys)})" for what, keys in wrong.items() if keys]
    if not told:
        return
    remedy = "Give a file of the same kind, depth and size as the network."
    if plan.other_channels and not plan.missing and not plan.unexpected:
        remedy = "adapt_channels averages the file's first layer over its input channels."
    raise RecipeError(f"{path}: does not fit {network}: {'; '.join(told)}. {remedy}")


def _renamed(state: dict[str, Tensor], aliases: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """The same under the network's own names. Raises RecipeError for a layer named twice."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        own = _joined(aliases.get(layer, layer), kind)
        if own in renamed:
            raise RecipeError(
                f"{path}: holds {_shown(key)} twice, by two names. Give another file."
            )
        renamed[own] = value
    return renamed


def _classes(state: Mapping[str, Tensor], layer: str) -> int | None:
    """How many rows a layer has; None where it is not there."""
    weight = state.get(f"{layer}.weight")
    return None if weight is None or weight.ndim == 0 else len(weight)


def _but_channels(weight: Tensor) -> tuple[int, ...]:
    return tuple(size for axis, size in enumerate(weight.shape) if axis != 1)


def _joined(layer: str, key: str) -> str:
    return f"{layer}.{key}" if layer else key


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    named = ", ".join(key if key.isprintable() else _shown(key) for key in keys[:_NAMED])
    return f"{named}, ..." if len(keys) > _NAMED else named


def _shown(key: object) -> str:
    """In one short line, whatever the file says."""
    return f"{key!r:.60}"
