"""ConvLSTM and EnhancedConvLSTM against step-by-step implementations of their equations."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscope.core.errors import SpecError
from emoscope.models import convlstm
from emoscope.models.convlstm import ConvLSTM, EnhancedConvLSTM

CHANNELS, HIDDEN, STEPS, SIZE = 3, 6, 5, (6, 7)
OPTIONS = ("temporal_skip", "spatial_skip", "norm", "peephole")
COMBINATIONS = [
    dict(zip(OPTIONS, chosen, strict=True)) for chosen in itertools.product((False, True), repeat=4)
]
SAME_WEIGHTS = {"temporal_skip": False, "spatial_skip": False, "norm": False}


def layer(kind: Any = EnhancedConvLSTM, seed: int = 0, **options: Any) -> Any:
    """Set all parameters to values other than 0 and 1, so that every term has an effect."""
    torch.manual_seed(seed)
    module = kind(CHANNELS, HIDDEN, size_hw=SIZE, **options)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.double()


def clip(batch: int = 2, steps: int = STEPS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, steps, CHANNELS, *SIZE, generator=generator, dtype=torch.float64)


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """Normalise each group of channels of each clip to mean 0 and variance 1."""
    normed = []
    for group in x.chunk(groups, 1):
        centred = group - group.mean((1, 2, 3), keepdim=True)
        normed.append(centred / (centred**2).mean((1, 2, 3), keepdim=True).add(1e-5).sqrt())
    return torch.cat(normed, 1) * weight[:, None, None] + bias[:, None, None]


def equations(module: Any, x: Tensor) -> Tensor:
    """The equations of the paper, one convolution per term, step by step."""
    w = dict(module.named_parameters())
    of_x, of_h = w["input_conv.weight"].split(HIDDEN), w["hidden_conv.weight"].split(HIDDEN)
    b, pad = w["input_conv.bias"].split(HIDDEN), of_x[0].shape[-1] // 2
    w_xi, w_xf, w_xo, w_xc = (lambda z, k=k: F.conv2d(z, k, padding=pad) for k in of_x)
    w_hi, w_hf, w_ho, w_hc = (lambda z, k=k: F.conv2d(z, k, padding=pad) for k in of_h)
    b_i, b_f, b_o, b_c = (one[:, None, None] for one in b)
    zero = x.new_zeros(len(x), HIDDEN, *SIZE)
    w_ci, w_cf, w_co = w.get("peepholes", (zero, zero, zero))
    h, c = {-2: zero, -1: zero}, zero
    for t, x_t in enumerate(x.unbind(1)):
        i = torch.sigmoid(w_xi(x_t) + w_hi(h[t - 1]) + w_ci * c + b_i)
        f = torch.sigmoid(w_xf(x_t) + w_hf(h[t - 1]) + w_cf * c + b_f)
        o = torch.sigmoid(w_xo(x_t) + w_ho(h[t - 1]) + w_co * c + b_o)  # of c_{t-1}, as printed
        c = f * c + i * torch.tanh(w_xc(x_t) + w_hc(h[t - 1]) + b_c)
        h[t] = o * torch.tanh(c)
        if getattr(module, "temporal_skip", False):
            h[t] = h[t] + h[t - 2]
        if "skip_conv.weight" in w:
            h[t] = h[t] + F.conv2d(x_t, w["skip_conv.weight"], padding=pad)
        if "norm.weight" in w:
            h[t] = group_norm(h[t], w["norm.weight"], w["norm.bias"], module.norm.num_groups)
    return torch.stack([h[t] for t in range(x.shape[1])], 1)


def check(module: Any) -> None:
    """States and all gradients, in float64."""
    answers = []
    for run in (module, lambda x: equations(module, x)):
        x = clip().requires_grad_()
        h = run(x)
        weight = torch.linspace(-1, 1, h.numel(), dtype=h.dtype).view_as(h)  # each counts its own
        gradients = torch.autograd.grad((h * weight).sum(), [x, *module.parameters()])
        answers.append((h, *gradients))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-9)
        assert ours.abs().sum() > 0


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(n for n in o if o[n]))
def test_the_enhanced_layer_computes_its_equations(
    options: dict[str, bool], kernel_size: int
) -> None:
    check(layer(kernel_size=kernel_size, **options))


def test_channels_of_a_group_are_normalised_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convlstm, "_GROUPS", 5)
    module = layer()
    assert module.norm.num_groups == 3  # of six channels
    check(module)


@pytest.mark.parametrize("peephole", [False, True])
def test_the_conventional_layer_computes_its_equations(peephole: bool) -> None:
    check(layer(ConvLSTM, peephole=peephole))


@pytest.mark.parametrize("peephole", [False, True])
def test_without_skips_and_norm_the_enhanced_layer_is_the_conventional_one(peephole: bool) -> None:
    plain = layer(ConvLSTM, peephole=peephole)
    enhanced = layer(seed=3, peephole=peephole, **SAME_WEIGHTS)
    assert not torch.equal(enhanced(clip()), plain(clip()))
    enhanced.load_state_dict(plain.state_dict())
    assert torch.equal(enhanced(clip()), plain(clip()))


def test_an_enhanced_layer_loads_the_weights_of_a_conventional_one() -> None:
    missing, unexpected = layer().load_state_dict(layer(ConvLSTM).state_dict(), strict=False)
    assert set(missing) == {"skip_conv.weight", "norm.weight", "norm.bias"}
    assert unexpected == []


@pytest.mark.parametrize("norm", [False, True])
def test_gradients_equal_finite_differences(norm: bool) -> None:
    torch.manual_seed(0)
    module = EnhancedConvLSTM(1, 2, size_hw=(2, 3), norm=norm).double()
    nn.init.normal_(module.peepholes)
    parameters = dict(module.named_parameters())

    def run(x: Tensor, *values: Tensor) -> Tensor:
        result = torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), x)
        return result * torch.arange(1, 7, dtype=x.dtype).view(2, 3)

    x = torch.randn(1, 3, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *parameters.values()))


def test_a_later_frame_changes_no_earlier_state() -> None:
    module, x = layer(), clip()
    changed = x.clone()
    changed[:, 3] += 1
    difference = (module(changed) - module(x)).abs().amax((0, 2, 3, 4))
    assert difference[:3].sum() == 0
    assert (difference[3:] > 1e-3).all()


def test_clips_of_a_batch_do_not_mix() -> None:
    module, x = layer(), clip()
    alone = torch.cat([module(one[None]) for one in x])
    torch.testing.assert_close(module(x), alone, atol=1e-12, rtol=0)


def test_equal_seeds_give_equal_layers_and_outputs() -> None:
    answers = []
    for _ in range(2):
        torch.manual_seed(0)
        module = EnhancedConvLSTM(CHANNELS, HIDDEN, size_hw=SIZE)
        answers += [module(clip().float()), module(clip().float())]
    assert all(torch.equal(answers[0], other) for other in answers[1:])


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(n for n in o if o[n]))
def test_parameters_are_those_of_the_equations(options: dict[str, bool], kernel_size: int) -> None:
    kernel = kernel_size**2
    wanted = 4 * (CHANNELS + HIDDEN) * HIDDEN * kernel + 4 * HIDDEN
    wanted += options["spatial_skip"] * CHANNELS * HIDDEN * kernel
    wanted += options["peephole"] * 3 * HIDDEN * SIZE[0] * SIZE[1]
    wanted += options["norm"] * 2 * HIDDEN
    module = layer(kernel_size=kernel_size, **options)
    assert sum(p.numel() for p in module.parameters()) == wanted


def test_the_initialisation_is_that_of_the_docstring() -> None:
    torch.manual_seed(0)
    module = EnhancedConvLSTM(16, 32, size_hw=SIZE)
    bias = module.input_conv.bias.detach()
    assert (bias[32:64] == 1).all()  # of the forget gate: open for memory
    assert bias.sum() == 32
    assert (module.peepholes == 0).all()
    for conv, fans in ((module.input_conv, 16 + 4 * 32), (module.skip_conv, 16 + 32)):
        bound = (6 / (9 * fans)) ** 0.5
        assert 0.98 * bound < conv.weight.abs().max() <= bound


@pytest.mark.parametrize(("hidden", "groups"), [(64, 32), (48, 24), (16, 16), (7, 7), (37, 1)])
def test_groups_are_the_largest_divisor_of_the_channels_up_to_32(hidden: int, groups: int) -> None:
    assert EnhancedConvLSTM(1, hidden, peephole=False).norm.num_groups == groups


def gradient_at_the_first_frame(temporal_skip: bool, steps: int = 64) -> float:
    """The norm of d(h_last)/d(x_first), along one random direction of h."""
    torch.manual_seed(0)
    module = EnhancedConvLSTM(4, 8, size_hw=(5, 5), temporal_skip=temporal_skip, norm=False)
    module = module.double()
    x = torch.randn(1, steps, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    last = module(x)[:, -1]
    return float(torch.autograd.grad(last, x, torch.randn_like(last))[0][:, 0].norm())


def test_the_temporal_skip_carries_gradients_to_the_first_frame() -> None:
    assert gradient_at_the_first_frame(True) > 1e3 * gradient_at_the_first_frame(False)


def test_the_input_of_all_steps_is_convolved_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    inner = F.conv2d

    def counted(x: Tensor, weight: Tensor, *rest: Any, **options: Any) -> Tensor:
        calls.append((len(x), len(weight)))
        return inner(x, weight, *rest, **options)

    monkeypatch.setattr(F, "conv2d", counted)
    whole = layer()(clip())
    assert calls == [(2 * STEPS, 5 * HIDDEN), *[(2, 4 * HIDDEN)] * (STEPS - 1)]
    calls.clear()
    of_a_step = 2 * 5 * HIDDEN * 6 * 7 * 8
    monkeypatch.setattr(convlstm, "_BLOCK_BYTES", 2 * of_a_step)  # a block holds two
    torch.testing.assert_close(layer()(clip()), whole, atol=1e-12, rtol=0)
    assert [n for n, kernels in calls if kernels == 5 * HIDDEN] == [4, 4, 2]
    calls.clear()
    monkeypatch.setattr(convlstm, "_BLOCK_BYTES", of_a_step - 1)  # not even one
    layer()(clip())
    assert [n for n, kernels in calls if kernels == 5 * HIDDEN] == [2] * STEPS


def test_the_cell_state_is_float32_under_autocast() -> None:
    x, module = clip().float(), layer().float()
    with torch.autocast("cpu", torch.bfloat16):
        result = module(x)
    assert result.dtype == torch.float32
    result.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    torch.testing.assert_close(result, module(x), atol=0.15, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(ConvLSTM, peephole=False).float()(x[:, :1]).dtype == torch.float32


class Scores(nn.Module):
    """A layer and a classifier of its last map."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = layer().float()
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[:, -1].amax((2, 3)))


@pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations
def test_onnx_runtime_gives_the_outputs_of_torch(tmp_path: Path) -> None:
    module = Scores().eval()
    program = torch.onnx.export(
        module,
        (clip(steps=3).float(),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["x"],
        opset_version=19,
        verbose=False,
    )
    program.save(tmp_path / "layer.onnx")
    session = ort.InferenceSession(tmp_path / "layer.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = clip(batch, steps=3).float()
        with torch.inference_mode():
            ours = module(x).numpy()
        assert np.abs(session.run(None, {"x": x.numpy()})[0] - ours).max() < 1e-5


def test_invalid_settings_are_refused_in_one_line() -> None:
    for call, message in (
        (
            lambda: layer(kernel_size=4),
            "kernel_size must be odd to preserve the size of maps",
        ),
        (
            lambda: ConvLSTM(3, 4),
            "Peepholes need size_hw, the size (H, W) of x. Give it, or set peephole",
        ),
        (lambda: layer()(clip().mT), "maps of (6, 7), x is of (7, 6): build the layer with size"),
    ):
        with pytest.raises(SpecError) as raised:
            call()
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


def test_without_peepholes_maps_may_have_any_size() -> None:
    module = EnhancedConvLSTM(CHANNELS, HIDDEN, peephole=False).double()
    assert module(clip().mT).shape == (2, STEPS, HIDDEN, 7, 6)
