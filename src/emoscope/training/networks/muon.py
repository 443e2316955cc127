"""Muon: SGD with momentum whose steps on convolution kernels are orthogonalised.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. torch.optim.Muon
takes matrices only.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "is_hidden_kernel", "orthogonal"]

_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al.: the steepest polynomial that converges
_STEPS = 5


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum and orthogonal steps.

    In a group with `orthogonal` the step of a kernel, as a matrix (output channels, all else), is
    replaced by its orthogonal factor times sqrt(max(1, rows / columns)), so that all directions are
    learned at the same rate. Weight decay is decoupled: parameters shrink by `decay` times the
    learning rate per step."""

    def __init__(self, groups: Iterable[dict[str, Any]], momentum: float) -> None:
        super().__init__(groups, {"momentum": momentum, "decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        velocity = state["momentum"].mul_(momentum).add_(gradient)
        step = gradient + momentum * velocity
        if group["orthogonal"]:
            step = orthogonal(step.flatten(1)).view_as(parameter)
        parameter.mul_(1 - group["lr"] * group["decay"]).sub_(step, alpha=group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Approximate orthogonal factor of a matrix, times sqrt(max(1, rows / columns)).

    Five Newton-Schulz steps in bfloat16; the singular values are 0.7 to 1.2 before scaling."""
    rows, columns = matrix.shape
    wide = (matrix.T if rows > columns else matrix).bfloat16()
    wide = wide / (wide.norm() + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_STEPS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    near = (wide.T if rows > columns else wide).to(matrix.dtype)
    return near * max(1.0, rows / columns) ** 0.5


def is_hidden_kernel(shape: Sequence[int]) -> bool:
    """Whether (output channels, input channels, *taps) is the kernel of a hidden convolution: more
    than one tap and more than three input channels, so no first, depthwise or 1 x 1 convolution."""
    return len(shape) > 3 and shape[1] > 3 and math.prod(shape[2:]) > 1
