"""GatedConvLSTM against a step-by-step implementation of its equations."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emoscope.core.errors import SpecError
from emoscope.models import convlstm
from emoscope.models.convlstm import GatedConvLSTM
from emoscope.models.deformable import deform_conv2d

CHANNELS, HIDDEN, STEPS = 3, 4, 5

variants = pytest.mark.parametrize(
    ("kernel_size", "deformable_steps", "modulated"),
    [
        (3, (), False),
        (5, (), False),
        (3, (1, 3), False),
        (3, (1, 3), True),
        (5, (0, 4), True),
        (3, range(STEPS), False),
    ],
)


def layer(deformable_steps: Collection[int] = (), **options: Any) -> GatedConvLSTM:
    """Layer whose weights depend on the seed only, not on the deformable steps."""
    torch.manual_seed(0)
    return GatedConvLSTM(CHANNELS, HIDDEN, deformable_steps=deformable_steps, **options)


def stirred(module: GatedConvLSTM) -> GatedConvLSTM:
    """The layer with offsets of about a pixel."""
    for parameter in module.offset_conv.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def clip(batch: int = 2, steps: int = STEPS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, steps, CHANNELS, 6, 7, generator=generator)


def at(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear samples of (B, C, H, W) at positions (B, H, W); zero outside."""
    height, width = x.shape[-2:]
    total = torch.zeros_like(x)
    for row in (rows.detach().floor(), rows.detach().floor() + 1):
        for column in (columns.detach().floor(), columns.detach().floor() + 1):
            weight = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            flat = index.long().flatten(1)[:, None].expand(-1, x.shape[1], -1)
            total = total + x.flatten(2).gather(2, flat).view_as(x) * (weight * inside)[:, None]
    return total


def deformed(x: Tensor, weights: Mapping[str, Tensor], modulated: bool) -> Tensor:
    """y(p) = Σ_k w_k · x(p + p_k + Δp_k) · Δm_k, as a loop over k."""
    kernel = weights["input_conv.weight"]
    side = kernel.shape[-1]
    output = F.conv2d(
        x, weights["offset_conv.weight"], weights["offset_conv.bias"], padding=side // 2
    )
    rows, columns = torch.meshgrid(*map(torch.arange, x.shape[-2:]), indexing="ij")
    y: Any = 0
    for k in range(side**2):
        i, j = k // side, k % side
        row = rows + i - side // 2 + output[:, 2 * k]
        column = columns + j - side // 2 + output[:, 2 * k + 1]
        sampled = at(x, row, column)
        if modulated:
            sampled = sampled * 2 * output[:, 2 * side**2 + k, None].sigmoid()
        y = y + torch.einsum("oc,bchw->bohw", kernel[:, :, i, j], sampled)
    return y + weights["input_conv.bias"][:, None, None]


def equations(module: GatedConvLSTM, x: Tensor) -> Tensor:
    """The equations of the docstring, step by step."""
    w = dict(module.named_parameters())
    pad = w["input_conv.weight"].shape[-1] // 2
    w_x, w_h = w["input_gates.weight"].chunk(3), w["hidden_gates.weight"].chunk(3)
    biases = w["input_gates.bias"].chunk(3)
    h = c = x.new_zeros(len(x), HIDDEN, *x.shape[-2:])
    states = []
    for t in range(x.shape[1]):
        x_mean, h_mean = x[:, t].mean((2, 3)), h.mean((2, 3))
        i, f, o = (
            torch.sigmoid(x_mean @ w_x[n].T + h_mean @ w_h[n].T + biases[n])[:, :, None, None]
            for n in range(3)
        )
        if t in module.deformable_steps:
            of_input = deformed(x[:, t], w, module.modulated)
        else:
            of_input = F.conv2d(x[:, t], w["input_conv.weight"], w["input_conv.bias"], padding=pad)
        g = torch.tanh(of_input + F.conv2d(h, w["hidden_conv.weight"], padding=pad))
        c = f * c + i * g
        h = o * torch.tanh(c)
        states.append(h)
    return torch.stack(states, 1)


@variants
def test_the_layer_computes_its_equations_and_their_gradients(
    kernel_size: int, deformable_steps: Collection[int], modulated: bool
) -> None:
    module = layer(deformable_steps, kernel_size=kernel_size, modulated=modulated).double()
    if deformable_steps:
        stirred(module)
    answers = []
    for run in (module, lambda x: equations(module, x)):
        x = clip().double().requires_grad_()
        h = run(x)
        wanted = [x, *module.parameters()]
        weight = torch.linspace(-1, 1, h.numel(), dtype=h.dtype).view_as(h)  # each counts its own
        answers.append((h, *torch.autograd.grad((h * weight).sum(), wanted)))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-8)
        assert ours.abs().sum() > 0


@pytest.mark.parametrize("modulated", [False, True])
def test_a_fresh_deformable_layer_equals_the_plain_one(modulated: bool) -> None:
    plain, deformable = layer(), layer((1, 2, 4), modulated=modulated)
    with torch.no_grad():
        torch.testing.assert_close(deformable(clip()), plain(clip()), atol=1e-5, rtol=0)


def test_a_deformable_layer_loads_the_weights_of_a_plain_one() -> None:
    deformable = layer((1, 3), modulated=True)
    missing, unexpected = deformable.load_state_dict(layer().state_dict(), strict=False)
    assert set(missing) == {"offset_conv.weight", "offset_conv.bias"}
    assert unexpected == []


@pytest.mark.parametrize("steps", [(0,), (2, 3), (4,)])
def test_offsets_change_their_steps_and_later_ones_only(steps: tuple[int, ...]) -> None:
    with torch.no_grad():
        change = (stirred(layer(steps))(clip()) - layer()(clip())).abs().amax((0, 2, 3, 4))
    assert change[: steps[0]].sum() == 0
    assert (change[steps[0] :] > 1e-4).all()


def test_plain_and_deformable_steps_share_one_kernel() -> None:
    module = stirred(layer(range(1, STEPS)))  # one plain step, then deformable ones
    with torch.no_grad():
        module.hidden_conv.weight.zero_()
        module.input_conv.weight.zero_()
        states = module(clip())
    where = states.flatten(3).std(3)  # without the kernel every place is alike, at every step
    torch.testing.assert_close(where, torch.zeros_like(where), atol=1e-6, rtol=0)


def test_the_input_of_all_steps_is_convolved_in_two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    module = layer((1, 2))

    def counted(x: Tensor, *rest: Any, **options: Any) -> Tensor:
        seen.append(("deformable", len(x)))
        return deform_conv2d(x, *rest, **options)

    monkeypatch.setattr(convlstm, "deform_conv2d", counted)
    module.input_conv.register_forward_hook(
        lambda _module, inputs, _output: seen.append(("plain", len(inputs[0])))
    )
    module(clip(batch=2, steps=5))
    assert seen == [("plain", 2 * 3), ("deformable", 2 * 2)]


def test_the_forget_gate_starts_open() -> None:
    bias = layer().input_gates.bias.detach()
    assert (bias[HIDDEN : 2 * HIDDEN] == 1).all()
    assert (bias[:HIDDEN].abs() < 1).all()
    assert (bias[2 * HIDDEN :].abs() < 1).all()


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(SpecError, match="kernel_size must be odd"):
        layer(kernel_size=4)
    with pytest.raises(SpecError, match=r"deformable_steps must be 0 or more, got \[-1, 2\]"):
        layer((2, -1))
    with pytest.raises(SpecError, match=r"Step 4 is deformable, but the clip has only 4"):
        layer((1, 4))(clip(steps=4))
