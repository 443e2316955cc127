"""Load published weights from a local file.

Supported are torchvision's ImageNet weights (ResNet, VGG), VGG-Face in two naming schemes (conv_1_1
or conv1_1 ... fc8), and C3D's Sports-1M weights. Names are mapped layer by layer; a file that does
not fit is refused. Files are read as tensors only: no code in them is run.

The input must be normalised as for the file's network, in a recipe's [clip] section: torchvision's
networks take (x - mean) / std of ImageNet, the default here; VGG-Face and Sports-1M take x in 0 to
255 minus a mean, so std = 1/255; the mean of grey VGG-Face images is 0.428.
"""

import importlib
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emoscope.core.errors import RecipeError

__all__ = ["Loaded", "Published", "freeze", "load_checkpoint", "read_tensors", "trunks"]

_COUNTER = "num_batches_tracked"  # of batch normalisation; absent in old files
_MAX_LISTED = 3  # keys listed in an error message


@dataclass(frozen=True)
class Published:
    """How a network's layers are named in published files, its attribute `published`.

    first     the layer that receives the image
    head      fully connected layers in order; a network may lack some, and the last may have a
              different number of classes
    aliases   {name of a layer in a file: its name in the network}
    """

    first: str
    head: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """Summary of a loaded file."""

    path: Path
    filled: tuple[str, ...]  # tensors of the network that were loaded
    fresh: tuple[str, ...]  # those that were not, as the classes differ
    unused: tuple[str, ...]  # tensors of the file for layers that the network lacks

    def __str__(self) -> str:
        parts = [f"{self.path}: {len(self.filled)} tensors loaded"]
        if self.fresh:
            parts.append(f"not loaded, as the classes differ: {', '.join(self.fresh)}")
        if self.unused:
            parts.append(f"unused: {', '.join(self.unused)}")
        return "; ".join(parts)


def load_checkpoint(module: nn.Module, path: Path, *, adapt_channels: bool = False) -> Loaded:
    """Load a file into a network, or into every part of it that has published weights.

    The last layer is left as it is if the file lacks it or has a different number of classes.

    adapt_channels   if the number of input channels differs, set each to the mean over the file's
                     (Wang et al., "Temporal segment networks", ECCV 2016)

    Raises RecipeError for a file that does not fit; the network is then unchanged."""
    parts = trunks(module)
    if not parts:
        raise RecipeError(f"{path}: {type(module).__name__} has no part with published weights.")
    state = read_tensors(path)
    plans = {name: _plan(trunk, state, path, adapt_channels) for name, trunk in parts.items()}
    with torch.no_grad():
        for plan in plans.values():
            for target, source in plan.copies:
                target.copy_(source)
    return Loaded(
        path,
        filled=tuple(_joined(name, key) for name, plan in plans.items() for key in plan.filled),
        fresh=tuple(_joined(name, key) for name, plan in plans.items() for key in plan.fresh),
        unused=tuple(dict.fromkeys(key for plan in plans.values() for key in plan.unused)),
    )


def trunks(module: nn.Module) -> dict[str, nn.Module]:
    """Parts of a network that have published weights, by name; "" is the whole network."""
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(getattr(part, "published", None), Published)
    }


def freeze(module: nn.Module) -> None:
    """Disable gradients of all parts with published weights, except their last layer.

    Training must also keep these parts in eval mode, which disables dropout and updates of batch
    normalisation statistics."""
    for trunk in trunks(module).values():
        published: Published = trunk.published  # type: ignore[assignment]
        for name, weights in trunk.named_parameters():
            weights.requires_grad_(name.rpartition(".")[0] == published.head[-1])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict, unwrapping "state_dict" and removing a common prefix "module.".

    Raises RecipeError for a file that cannot be read, or that contains anything but tensors."""
    content = _read(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise RecipeError(f"{path}: no state dict. Save a network's state_dict() to it.")
    for key, value in content.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise RecipeError(
                f"{path}: {_shortened(key)} is not a plain tensor with a name. Save a network's "
                "state_dict() to it."
            )
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def _read(path: Path) -> Any:
    if not path.exists():
        raise RecipeError(f"{path}: no such file. Download the weights and give their path.")
    if not path.is_file():
        raise RecipeError(f"{path}: not a file. Give the path of the file.")
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path).load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats that torch then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except RecipeError:
        raise
    except pickle.UnpicklingError:
        raise RecipeError(
            f"{path}: contains more than tensors, or is no checkpoint; nothing in it was run. "
            "Save the network's state_dict() instead, or a .safetensors file."
        ) from None
    except Exception as error:  # torch raises various types for a damaged file
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
    """Tensors to copy into one trunk, and keys that do not fit."""

    copies: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    filled: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    channels_differ: bool = False


def _plan(trunk: nn.Module, state: dict[str, Tensor], path: Path, adapt: bool) -> _Plan:
    published: Published = trunk.published  # type: ignore[assignment]
    sources = _renamed(state, published.aliases, path)
    targets = trunk.state_dict(keep_vars=True)
    last = published.head[-1]
    classes_differ = _num_classes(targets, last) != _num_classes(sources, last)
    plan = _Plan()
    for key, target in targets.items():
        layer, source = key.rpartition(".")[0], sources.get(key)
        if layer == last and classes_differ:
            plan.fresh.append(key)
        elif source is None:
            if not key.endswith(_COUNTER):
                plan.missing.append(key)
        else:
            _match(plan, key, target, source, adapt if layer == published.first else None)
    for key in sources.keys() - targets.keys():
        is_head = key.rpartition(".")[0] in published.head
        (plan.unused if is_head else plan.unexpected).append(key)
    _check(plan, type(trunk).__name__, path)
    plan.unused.sort()
    return plan


def _match(plan: _Plan, key: str, target: Tensor, source: Tensor, adapt: bool | None) -> None:
    """Plan the copy of one tensor; `adapt` is None for all layers but the first."""
    if target.shape == source.shape:
        plan.copies.append((target, source))
        plan.filled.append(key)
        return
    channels_differ = adapt is not None and _but_channels(target) == _but_channels(source)
    if channels_differ and adapt:
        plan.copies.append((target, source.mean(1, keepdim=True).expand(target.shape)))
        plan.filled.append(key)
        return
    plan.channels_differ |= channels_differ
    plan.misshapen.append(f"{key} {tuple(source.shape)}, not {tuple(target.shape)}")


def _check(plan: _Plan, network: str, path: Path) -> None:
    """Raises RecipeError if something does not fit."""
    problems = {
        "missing": plan.missing,
        "unexpected": sorted(plan.unexpected),
        "of the wrong shape": plan.misshapen,
    }
    messages = [
        f"{len(keys)} {problem} ({_listed(keys)})" for problem, keys in problems.items() if keys
    ]
    if not messages:
        return
    remedy = "Give a file of the same kind, depth and size as the network."
    if plan.channels_differ and not plan.missing and not plan.unexpected:
        remedy = "adapt_channels averages the file's first layer over its input channels."
    raise RecipeError(f"{path}: does not fit {network}: {'; '.join(messages)}. {remedy}")


def _renamed(state: dict[str, Tensor], aliases: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Rename layers as in the network. Raises RecipeError for a layer that occurs twice."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        name = _joined(aliases.get(layer, layer), kind)
        if name in renamed:
            raise RecipeError(
                f"{path}: contains {_shortened(key)} under two names. Give another file."
            )
        renamed[name] = value
    return renamed


def _num_classes(state: Mapping[str, Tensor], layer: str) -> int | None:
    """Number of outputs of a layer; None if it is absent."""
    weight = state.get(f"{layer}.weight")
    return None if weight is None or weight.ndim == 0 else len(weight)


def _but_channels(weight: Tensor) -> tuple[int, ...]:
    """Shape without the input channels."""
    return tuple(size for axis, size in enumerate(weight.shape) if axis != 1)


def _joined(layer: str, key: str) -> str:
    return f"{layer}.{key}" if layer else key


def _listed(keys: Sequence[str]) -> str:
    listed = ", ".join(key if key.isprintable() else _shortened(key) for key in keys[:_MAX_LISTED])
    return f"{listed}, ..." if len(keys) > _MAX_LISTED else listed


def _shortened(key: object) -> str:
    """Quote a key of a file in one short line."""
    return f"{key!r:.60}"
