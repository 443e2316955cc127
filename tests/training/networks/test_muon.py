"""Muon's step against the singular values that define it."""

import pytest
import torch
from torch import nn

from emoscope.training.networks.muon import Muon, is_hidden_kernel, orthogonal
from emoscope.training.networks.schedule import create_optimiser
from emoscope.training.recipe import Optimiser


@pytest.mark.parametrize("shape", [(16, 144), (64, 64), (96, 12)])
def test_a_step_moves_every_direction_about_alike(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    rows, columns = shape
    matrix = torch.randn(rows, min(shape)) @ torch.diag(torch.logspace(0, -1.5, min(shape)))
    matrix = matrix @ torch.randn(min(shape), columns)
    sizes = torch.linalg.svdvals(orthogonal(matrix)) / max(1, rows / columns) ** 0.5
    largest = torch.linalg.svdvals(matrix)
    assert largest[0] / largest[len(largest) // 2] > 5
    assert sizes.max() < 1.35
    assert sizes[len(sizes) // 2] > 0.6


def test_the_step_goes_along_the_orthogonal_factor() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(8, 30)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    factor = left @ right
    assert torch.cosine_similarity(orthogonal(matrix).flatten(), factor.flatten(), dim=0) > 0.95


def test_the_step_of_a_kernel_does_not_depend_on_the_gradients_size() -> None:
    steps = []
    for size in (1.0, 1000.0):
        torch.manual_seed(0)
        kernel = nn.Parameter(torch.randn(8, 4, 3, 3))
        before = kernel.detach().clone()
        kernel.grad = size * torch.randn(8, 4, 3, 3)
        Muon([{"params": [kernel], "lr": 0.1, "orthogonal": True}], momentum=0.9).step()
        steps.append(kernel.detach() - before)
    torch.testing.assert_close(*steps, rtol=0.05, atol=1e-3)


def test_the_rest_moves_as_sgd_does() -> None:
    ours, theirs = (nn.Parameter(torch.ones(3)) for _ in range(2))
    muon = Muon([{"params": [ours], "lr": 0.1}], momentum=0.9)
    sgd = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, nesterov=True)
    for i in range(4):
        ours.grad, theirs.grad = (torch.arange(3.0) + i for _ in range(2))
        muon.step()
        sgd.step()
    torch.testing.assert_close(ours, theirs)


def test_only_hidden_kernels_are_orthogonalised() -> None:
    net = nn.ModuleDict(
        {
            "first": nn.Conv2d(1, 8, 3),
            "first_of_colours": nn.Conv2d(3, 8, 3),
            "hidden": nn.Conv2d(8, 8, 3),
            "in_time": nn.Conv3d(8, 8, (3, 1, 1)),
            "mixing": nn.Conv2d(8, 8, 1),
            "classes": nn.Linear(8, 2),
        }
    )
    chosen = {name for name, p in net.named_parameters() if is_hidden_kernel(p.shape)}
    assert chosen == {"hidden.weight", "in_time.weight"}
    made = create_optimiser(Optimiser(name="muon", lr=0.02, weight_decay=0.05), net)
    kernels, matrices, biases = made.param_groups
    assert [group["orthogonal"] for group in made.param_groups] == [True, False, False]
    assert [len(group["params"]) for group in (kernels, matrices)] == [2, 4]
    assert {p.ndim for p in biases["params"]} == {1}
    shrink = [group["lr"] * group["decay"] for group in (kernels, matrices)]
    assert shrink == pytest.approx([0.001, 0.001])
    assert biases["decay"] == 0


def test_a_network_without_kernels_can_be_trained() -> None:
    made = create_optimiser(Optimiser(name="muon", lr=0.02), nn.Linear(4, 2))
    assert [group["orthogonal"] for group in made.param_groups] == [False, False]
