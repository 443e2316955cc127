"""Activation checkpointing changes the memory of body networks, not their results."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emoscope import models

NAMES = ("convlstm-body", "deformable-convlstm")

both = pytest.mark.parametrize("name", NAMES)


def network(name: str, **options: Any) -> Any:
    """Small network in training mode with non-zero offsets; equal names give equal weights."""
    torch.manual_seed(0)
    model: Any = models.create(name, **models.small(name), **options).train()
    for level in model.levels:
        if level.deformable_steps:
            nn.init.normal_(level.offset_conv.weight, std=0.1)
    return model


def trained(model: Any, steps: int = 2) -> dict[str, Tensor]:
    """Logits, gradients and statistics after a few optimisation steps."""
    torch.manual_seed(0)
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        logits = model(**model.example_inputs(2))
        sgd.zero_grad()
        nn.functional.cross_entropy(logits, torch.tensor([1, 4])).backward()
        sgd.step()
    gradients = {f"{name}.grad": p.grad for name, p in model.named_parameters()}
    return {"logits": logits.detach(), **gradients, **model.state_dict()}


def kept_bytes(model: Any) -> int:
    """Bytes that a forward pass stores for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive = model(**model.example_inputs(2))  # or an address may come twice
    del alive
    return sum(kept.values())


@both
@pytest.mark.parametrize("momentum", [0.1, None])  # None: every batch counts alike
def test_gradients_statistics_and_logits_are_the_same(name: str, momentum: float | None) -> None:
    answers = []
    for option in (False, True):
        model = network(name, activation_checkpointing=option)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.momentum = momentum
        answers.append(trained(model))
    assert answers[1]["cnn3d.norm1.num_batches_tracked"] == 2
    torch.testing.assert_close(*answers, atol=1e-6, rtol=1e-5)


@both
def test_training_stores_far_less(name: str) -> None:
    plain, forgetful = (network(name, activation_checkpointing=on) for on in (False, True))
    assert kept_bytes(forgetful) < 0.4 * kept_bytes(plain)
    assert kept_bytes(forgetful.eval()) > 0.9 * kept_bytes(plain.eval())


@both
def test_blocks_are_recomputed_in_training_only(name: str) -> None:
    model = network(name, activation_checkpointing=True)
    parts = ("cnn3d.conv1", "cnn3d.conv2", "cnn3d.conv3a", "levels.0", "levels.1", "cnn2d.0")
    calls = dict.fromkeys(parts, 0)

    def count(part: str) -> None:
        calls[part] += 1

    for part in parts:
        model.get_submodule(part).register_forward_pre_hook(lambda *_, part=part: count(part))
    inputs = model.example_inputs(2)
    model(**inputs).sum().backward()
    assert calls == dict.fromkeys(parts, 2)
    model.eval()(**inputs).sum().backward()
    assert calls == dict.fromkeys(parts, 3)
    with torch.no_grad():
        model.train()(**inputs)
    assert calls == dict.fromkeys(parts, 4)


def test_recomputation_uses_the_precision_of_the_forward_pass() -> None:
    answers = []
    for option in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            answers.append(trained(network(NAMES[1], activation_checkpointing=option)))
    torch.testing.assert_close(*answers, atol=1e-6, rtol=1e-5)
