"""Learning rates against torch's schedulers, and the parameter groups of optimisers."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from emoscope.training.networks.schedule import create_optimiser, lr_factor, picture_scale
from emoscope.training.recipe import Optimiser, Schedule

TOTAL = 40


def factors(total: int = TOTAL, **settings: Any) -> list[float]:
    schedule = Schedule(iterations=total, **settings)
    return [lr_factor(schedule, step, total) for step in range(total)]


def torchs(make: Any, total: int = TOTAL) -> list[float]:
    """The rates of one of torch's schedulers on an optimiser of rate 1."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimiser)
    rates = []
    for _ in range(total):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_one_cycle_equals_torchs(warmup: float) -> None:
    ours = factors(decay="one-cycle", warmup=warmup)
    theirs = torchs(
        lambda optimiser: lr_scheduler.OneCycleLR(
            optimiser, 1.0, TOTAL, pct_start=warmup or 0.3, cycle_momentum=False
        )
    )
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert max(ours) == pytest.approx(1.0)


def test_cosine_equals_torchs() -> None:
    theirs = torchs(lambda optimiser: lr_scheduler.CosineAnnealingLR(optimiser, TOTAL))
    assert factors(decay="cosine") == pytest.approx(theirs, rel=1e-6)


def test_cosine_begins_where_the_warm_up_ends() -> None:
    ours = factors(decay="cosine", warmup=0.25)
    assert ours[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    theirs = torchs(lambda optimiser: lr_scheduler.CosineAnnealingLR(optimiser, 30), total=30)
    assert ours[10:] == pytest.approx(theirs, rel=1e-6)


def test_step_decay_equals_torchs_per_iteration() -> None:
    ours = factors(decay="step", step_iterations=15, step_factor=0.5)
    theirs = torchs(lambda optimiser: lr_scheduler.StepLR(optimiser, 15, 0.5))
    assert ours == pytest.approx(theirs)
    assert ours[14:16] == [1.0, 0.5]


def test_without_decay_the_rate_stays_after_the_warm_up() -> None:
    assert factors() == [1.0] * TOTAL
    assert factors(warmup=0.1) == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 37])


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("decay", ["none", "cosine", "one-cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
def test_the_shortest_training_has_a_rate(total: int, decay: str, warmup: float) -> None:
    rates = factors(total, decay=decay, warmup=warmup)
    assert all(0 < rate <= 1 and math.isfinite(rate) for rate in rates)


def test_pictures_have_full_size_after_growing() -> None:
    schedule = Schedule(epochs=1, grow=[[0.5, 0.6], [0.75, 0.8]])
    parts = [picture_scale(schedule, step, 8) for step in range(8)]
    assert parts == [0.6] * 4 + [0.8] * 2 + [1.0] * 2
    assert picture_scale(Schedule(epochs=1), 0, 8) == 1.0


class Net(nn.Module):
    """Kernels and matrices, and what is neither: biases and a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 2)


def created(**settings: Any) -> tuple[torch.optim.Optimizer, Net]:
    net = Net()
    return create_optimiser(Optimiser(lr=0.1, **settings), net), net


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_weight_decay_applies_to_matrices_and_kernels_only(name: str, kind: type) -> None:
    optimiser, net = created(name=name, weight_decay=0.01)
    assert type(optimiser) is kind
    decayed, others = optimiser.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(net.conv.weight), id(net.linear.weight)}
    assert len(others["params"]) == 4
    assert {group["lr"] for group in optimiser.param_groups} == {0.1}


def test_sgd_has_nesterov_plain_or_no_momentum() -> None:
    with_it, without = (created(name="sgd", momentum=m)[0].defaults for m in (0.9, 0.0))
    assert (with_it["momentum"], with_it["nesterov"]) == (0.9, True)
    assert (without["momentum"], without["nesterov"]) == (0.0, False)
    plain = created(name="sgd", momentum=0.9, nesterov=False)[0].defaults
    assert (plain["momentum"], plain["nesterov"]) == (0.9, False)


def test_frozen_parameters_are_not_optimised() -> None:
    net = Net()
    net.conv.requires_grad_(False)
    decayed, others = create_optimiser(Optimiser(lr=0.1), net).param_groups
    assert {id(p) for p in decayed["params"]} == {id(net.linear.weight)}
    assert len(others["params"]) == 3


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_a_step_changes_every_parameter(name: str) -> None:
    optimiser, net = created(name=name)
    before = [p.detach().clone() for p in net.parameters()]
    out = net.linear(net.norm(net.conv(torch.randn(5, 3, 4, 4))).mean((2, 3)))
    nn.functional.cross_entropy(out, torch.tensor([0, 1, 0, 0, 1])).backward()
    # A bias before a normalisation has no gradient but noise; whatever it is, it is a step.
    for parameter in net.parameters():
        assert parameter.grad is not None
        parameter.grad += 1e-3
    optimiser.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
