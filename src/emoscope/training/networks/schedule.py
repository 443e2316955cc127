"""The optimiser of a recipe, and its learning rate and picture size per step."""

import math
from typing import Any

import torch
from torch import nn

from emoscope.training.networks.muon import Muon, is_hidden_kernel
from emoscope.training.recipe import Optimiser, Schedule

__all__ = ["create_optimiser", "lr_factor", "picture_scale"]

# Smith's one-cycle policy as implemented in fastai and torch.
_CYCLE_START, _CYCLE_END, _CYCLE_WARMUP = 1 / 25, 1 / 25 / 1e4, 0.3


def create_optimiser(settings: Optimiser, module: nn.Module) -> torch.optim.Optimizer:
    """Create the optimiser for the parameters that are not frozen.

    Weight decay applies to matrices and kernels only, not to biases and normalisations."""
    learning = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learning if p.ndim > 1]},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    lr, decay = settings.lr, settings.weight_decay
    match settings.name:
        case "adam":
            return torch.optim.Adam(groups, lr=lr, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, weight_decay=decay)
        case "sgd":
            momentum = settings.momentum
            nesterov = settings.nesterov and momentum > 0
            return torch.optim.SGD(
                groups, lr=lr, momentum=momentum, weight_decay=decay, nesterov=nesterov
            )
        case "muon":
            return _muon(settings, learning)


def _muon(settings: Optimiser, learning: list[nn.Parameter]) -> Muon:
    """Muon for hidden kernels, SGD for the rest. Weight decay shrinks all parameters with more than
    one dimension by the same factor per step, whatever their learning rate."""
    lr, other_lr = settings.lr, settings.other_lr
    kernels = [p for p in learning if is_hidden_kernel(p.shape)]
    others = [p for p in learning if not is_hidden_kernel(p.shape)]
    decay = settings.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": kernels, "lr": lr, "decay": decay, "orthogonal": True},
        {
            "params": [p for p in others if p.ndim > 1],
            "lr": other_lr,
            "decay": decay * lr / other_lr,
        },
        {"params": [p for p in others if p.ndim <= 1], "lr": other_lr},
    ]
    return Muon([group for group in groups if group["params"]], settings.momentum)


def lr_factor(schedule: Schedule, step: int, total: int) -> float:
    """The factor of the learning rate at `step` (from 0) of `total`."""
    if schedule.decay == "one-cycle":
        return _one_cycle(step, total, schedule.warmup or _CYCLE_WARMUP)
    warmup = round(schedule.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    match schedule.decay:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
        case "step":
            return schedule.step_factor ** (step // schedule.step_iterations)
        case "none":
            return 1.0


def picture_scale(schedule: Schedule, step: int, total: int) -> float:
    """The factor of pictures' height and width at `step` (from 0) of `total`."""
    for until, scale in schedule.grow:
        if step < until * total:
            return scale
    return 1.0


def _one_cycle(step: int, total: int, rising: float) -> float:
    """Rise along a cosine from 1/25 to 1, then fall along one to almost 0."""
    peak = max(rising * total - 1, 1e-9)
    if step <= peak:
        return _between(_CYCLE_START, 1.0, step / peak)
    return _between(1.0, _CYCLE_END, min((step - peak) / max(total - 1 - peak, 1e-9), 1.0))


def _between(start: float, end: float, way: float) -> float:
    """Cosine from `start` (way 0) to `end` (way 1)."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * way))
