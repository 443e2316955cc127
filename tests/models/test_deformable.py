"""Deformable convolution against the equation of its papers, in torch and in ONNX."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor, nn

from emoscope.analysis.bundle import BundleCard, load_bundle
from emoscope.core.clipspec import ClipSpec, Last, Stream
from emoscope.core.errors import SpecError
from emoscope.models import deformable
from emoscope.models.deformable import deform_conv2d
from emoscope.models.network import Network
from emoscope.training.export.bundle import export_bundle

SETTINGS = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": (2, 0), "dilation": (2, 1), "stride": (1, 2)},
    {"groups": 2, "padding": 1},
    {"offset_groups": 3, "padding": 1},
    {"groups": 2, "offset_groups": 3},
    {"groups": 6, "offset_groups": 2, "kernel": (1, 2)},
    {"kernel": (2, 3), "dilation": 2, "padding": (1, 2)},
]
everywhere = pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: str(s) or "plain")
Case = tuple[dict[str, Any], dict[str, Any]]


def case(
    *,
    kernel: tuple[int, int] = (3, 3),
    groups: int = 1,
    offset_groups: int = 1,
    batch: int = 2,
    kind: torch.dtype = torch.float64,
    reach_px: float = 3.0,
    **steps: Any,
) -> Case:
    """Random tensors with offsets that also point outside the 6 x 7 input, and settings."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 6, 6, 7, generator=rng, dtype=kind)
    weight = torch.randn(12, 6 // groups, *kernel, generator=rng, dtype=kind)
    out = F.conv2d(x, weight, groups=groups, **steps).shape[2:]
    samples = offset_groups * kernel[0] * kernel[1]
    offset = reach_px * torch.randn(batch, 2 * samples, *out, generator=rng, dtype=kind)
    mask = torch.rand(batch, samples, *out, generator=rng, dtype=kind)
    bias = torch.randn(12, generator=rng, dtype=kind)
    return {"x": x, "offset": offset, "weight": weight, "bias": bias, "mask": mask}, steps


def two(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """x(p) = Σ_q max(0, 1 - |q_y - p_y|) · max(0, 1 - |q_x - p_x|) · x(q), Dai et al., eq. 3-4."""
    total = 0.0
    for i, j in itertools.product(range(plane.shape[0]), range(plane.shape[1])):
        near = max(0.0, 1 - abs(i - y)) * max(0.0, 1 - abs(j - x))
        total += near * float(plane[i, j]) if near else 0.0
    return total


def by_the_equation(tensors: dict[str, Any], steps: dict[str, Any]) -> Tensor:
    """Zhu et al., eq. 1, one output at a time; slow."""
    x, offset, weight, bias, mask = (tensors[k] for k in ("x", "offset", "weight", "bias", "mask"))
    stride, padding = two(steps.get("stride", 1)), two(steps.get("padding", 0))
    dilation = two(steps.get("dilation", 1))
    filters, per_group, kh, kw = weight.shape
    groups = x.shape[1] // per_group
    share = x.shape[1] // (mask.shape[1] // (kh * kw))  # channels of an offset group
    out = bias.repeat(*mask.shape[2:], 1).permute(2, 0, 1).repeat(len(x), 1, 1, 1)
    for b, i, j in np.ndindex(len(x), *mask.shape[2:]):
        for c, ky, kx in np.ndindex(x.shape[1], kh, kw):
            k = (c // share) * kh * kw + ky * kw + kx
            y_px = i * stride[0] - padding[0] + ky * dilation[0] + float(offset[b, 2 * k, i, j])
            x_px = j * stride[1] - padding[1] + kx * dilation[1] + float(offset[b, 2 * k + 1, i, j])
            sample = bilinear(x[b, c], y_px, x_px) * float(mask[b, k, i, j])
            group = c // per_group
            mine = slice(group * filters // groups, (group + 1) * filters // groups)
            out[b, mine, i, j] += weight[mine, c % per_group, ky, kx] * sample
    return out


@everywhere
def test_zero_offsets_are_an_ordinary_convolution(settings: dict[str, Any]) -> None:
    tensors, steps = case(**settings)
    plain = F.conv2d(
        tensors["x"],
        tensors["weight"],
        tensors["bias"],
        groups=settings.get("groups", 1),
        **steps,
    )
    still = torch.zeros_like(tensors["offset"])
    ours = deform_conv2d(tensors["x"], still, tensors["weight"], tensors["bias"], **steps)
    torch.testing.assert_close(ours, plain)


def test_integer_offsets_are_a_convolution_of_the_shifted_input() -> None:
    tensors, _ = case(padding=1)
    down, right = 2, -1
    offset = torch.zeros_like(tensors["offset"])
    offset[:, 0::2], offset[:, 1::2] = down, right
    wide = F.pad(tensors["x"], (4, 4, 4, 4))
    shifted = wide[:, :, 3 + down : 11 + down, 3 + right : 12 + right]
    ours = deform_conv2d(tensors["x"], offset, tensors["weight"], padding=1)
    torch.testing.assert_close(ours, F.conv2d(shifted, tensors["weight"]))


@pytest.mark.parametrize("settings", [SETTINGS[i] for i in (1, 2, 5, 6)], ids=str)
def test_outputs_equal_the_equation(settings: dict[str, Any]) -> None:
    tensors, steps = case(batch=1, **{"stride": 2, **settings})
    torch.testing.assert_close(deform_conv2d(**tensors, **steps), by_the_equation(tensors, steps))


@everywhere
def test_a_mask_of_ones_changes_nothing(settings: dict[str, Any]) -> None:
    tensors, steps = case(**settings)
    ones = torch.ones_like(tensors.pop("mask"))
    ours = deform_conv2d(**tensors, **steps)
    torch.testing.assert_close(deform_conv2d(**tensors, mask=ones, **steps), ours)


def test_samples_outside_the_input_are_zero_and_never_nan() -> None:
    tensors, _ = case()
    del tensors["mask"], tensors["bias"]
    for far in (1e30, -1e30, float("inf"), -float("inf")):
        tensors["offset"][:] = far
        assert (deform_conv2d(**tensors) == 0).all()
    tensors["offset"][:] = float("nan")
    assert deform_conv2d(**tensors).isnan().all()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("settings", [SETTINGS[i] for i in (1, 2, 5)], ids=str)
def test_gradients_equal_finite_differences(settings: dict[str, Any], masked: bool) -> None:
    tensors, steps = case(**settings, kernel=(2, 1), reach_px=2.0)
    if not masked:
        del tensors["mask"]
    # Bilinear sampling has kinks where positions are whole.
    tensors["offset"] = tensors["offset"].floor() + 0.1 + 0.8 * torch.rand_like(tensors["offset"])
    names = list(tensors)
    values = [tensors[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(
        lambda *given: deform_conv2d(**dict(zip(names, given, strict=True)), **steps),
        values,
        fast_mode=True,
    )


def test_chunks_of_the_batch_give_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensors, steps = case(batch=5, padding=1)
    made = []
    for limit in (1, 2 * 6 * 7 * 9 * 6 * 4, 2**30):  # one, two and five at a time
        monkeypatch.setattr(deformable, "_COLUMN_BYTES", limit)
        values = {name: value.clone().requires_grad_() for name, value in tensors.items()}
        out = deform_conv2d(**values, **steps)
        torch.autograd.backward(out.square().sum())
        made.append([out.detach(), *(value.grad for value in values.values())])
    torch.testing.assert_close(made[1], made[0])
    torch.testing.assert_close(made[2], made[0])


def test_it_passes_torchs_operator_checks() -> None:
    tensors, _ = case(kind=torch.float32, padding=1)
    values = [tensors[name].requires_grad_() for name in ("x", "offset", "weight", "bias", "mask")]
    steps = ((1, 1),) * 3
    torch.library.opcheck(torch.ops.emoscope.deform_conv2d, (*values, *steps))
    plain = (*values[:3], None, None, *steps)
    torch.library.opcheck(torch.ops.emoscope.deform_conv2d, plain, test_utils="test_faketensor")


def test_the_output_keeps_the_memory_format() -> None:
    tensors, _ = case()
    assert deform_conv2d(**tensors).is_contiguous()
    tensors["x"] = tensors["x"].contiguous(memory_format=torch.channels_last)
    ours = deform_conv2d(**tensors)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_keeps_exact_positions() -> None:
    """bfloat16 resolves positions near 300 px to 2 px only; the input is a ramp to show them."""
    x = torch.arange(400.0).expand(1, 1, 1, 400)
    weight = torch.ones(1, 1, 1, 1)
    offset = torch.zeros(1, 2, 1, 400)
    offset[:, 1] = 0.25
    expected = x[0, 0, 0, :399] + 0.25
    difference = x.bfloat16()[0, 0, 0, 1:].float() - x.bfloat16()[0, 0, 0, :-1].float()
    exact = x.bfloat16()[0, 0, 0, :-1].float() + 0.25 * difference
    with torch.autocast("cpu", torch.bfloat16):
        soft = deform_conv2d(x, offset, weight)
    assert soft.dtype == torch.bfloat16
    torch.testing.assert_close(soft[0, 0, 0, :399], exact.bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(deform_conv2d(x, offset, weight)[0, 0, 0, :399], expected)


def test_autocast_trains() -> None:
    tensors, _ = case(kind=torch.float32, padding=1)
    grads = []
    for enabled in (False, True):
        values = {name: value.clone().requires_grad_() for name, value in tensors.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = deform_conv2d(**values, padding=1)
        torch.autograd.backward(out.float().sum())
        assert all(value.grad.dtype == torch.float32 for value in values.values())
        grads.append(torch.cat([value.grad.flatten() for value in values.values()]))
    assert torch.corrcoef(torch.stack(grads))[0, 1] > 0.999


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(6, 6, 7)}, r"four dimensions each, got \(6, 6, 7\)"),
        ({"x": torch.zeros(2, 5, 6, 7)}, r"weight \(12, 6, 3, 3\) does not fit 5 channels"),
        ({"x": torch.zeros(2, 6, 2, 7)}, r"too small for a kernel of \(3, 3\)"),
        (
            {"offset": torch.zeros(2, 18, 4, 4)},
            r"offset must be \(2, 18, 4, 5\), got \(2, 18, 4, 4",
        ),
        ({"offset": torch.zeros(2, 17, 4, 5)}, r"offset must be \(2, 18, 4, 5\), got \(2, 17"),
        (
            {"offset": torch.zeros(2, 72, 4, 5)},
            "The 6 channels of x cannot be divided into the 4 groups",
        ),
        ({"mask": torch.zeros(2, 18, 4, 5)}, r"mask must be \(2, 9, 4, 5\), got \(2, 18"),
        ({"bias": torch.zeros(1)}, r"bias must be \(12,\), got \(1,\)"),
        ({"weight": torch.zeros(12, 6, 3, 3).double()}, "x is torch.float32"),
        ({"stride": 0}, r"stride and dilation must be 1 or more.* got \(0, 0\)"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    tensors, _ = case(kind=torch.float32)
    with pytest.raises(SpecError, match=message) as raised:
        deform_conv2d(**{**tensors, **changes})
    assert "\n" not in str(raised.value)


@everywhere
@pytest.mark.parametrize("opset", [19, 22])
def test_onnx_runtime_computes_the_same(settings: dict[str, Any], opset: int) -> None:
    tensors, steps = case(kind=torch.float32, **settings)
    names = {"x": "X", "weight": "W", "offset": "offset", "bias": "B", "mask": "mask"}
    arrays = {onnx_name: tensors[name].numpy() for name, onnx_name in names.items()}
    node = helper.make_node(
        "DeformConv",
        list(arrays),
        ["Y"],
        kernel_shape=tensors["weight"].shape[2:],
        strides=two(steps.get("stride", 1)),
        pads=2 * two(steps.get("padding", 0)),
        dilations=two(steps.get("dilation", 1)),
        group=settings.get("groups", 1),
        offset_group=settings.get("offset_groups", 1),
    )
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in arrays.items()
    ]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", inputs, [output])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = torch.from_numpy(session.run(None, arrays)[0])
    torch.testing.assert_close(deform_conv2d(**tensors, **steps), theirs, rtol=1e-4, atol=1e-4)


class Tiny(Network):
    """One deformable convolution with offsets computed from its input."""

    def __init__(self, modulated: bool) -> None:
        super().__init__()
        self.clip_spec = ClipSpec(
            region="face",
            sampling=Last(length=1),
            streams=(Stream(kind="rgb", size_hw=(8, 9)),),
        )
        self.lift = nn.Conv2d(3, 4, 1)
        self.offset = nn.Conv2d(4, 2 * 2 * 9, 3, stride=(1, 2), padding=1)
        self.mask = nn.Conv2d(4, 2 * 9, 3, stride=(1, 2), padding=1) if modulated else None
        self.weight = nn.Parameter(torch.randn(6, 2, 3, 3))
        self.bias = nn.Parameter(torch.randn(6)) if modulated else None
        self.head = nn.Linear(6, 3)

    def forward(self, rgb: Tensor) -> Tensor:
        x = self.lift(rgb.squeeze(1))
        mask = None if self.mask is None else self.mask(x).sigmoid()
        offset = self.offset(x)
        y = deform_conv2d(x, offset, self.weight, self.bias, (1, 2), 1, mask=mask)
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("modulated", [False, True])
def test_a_network_that_uses_it_is_exported(modulated: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tiny(modulated).eval()
    card = BundleCard(
        name="tiny",
        version="1",
        modality="face",
        labels=("a", "b", "c"),
        clip_spec=model.clip_spec,
        temperature=1.0,
        prior=(1 / 3,) * 3,
        licence="none",
        trained_on="nothing",
        figures={},
    )
    export_bundle(model, card, tmp_path / "tiny.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "tiny.onnx").graph.node]
    assert operators.count("DeformConv") == 1
    assert not {"Loop", "Scan", "If"} & set(operators)
    bundle = load_bundle(tmp_path / "tiny.onnx")
    for batch in (1, 2, 5):
        rgb = torch.randn(batch, 1, 3, 8, 9, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            logits = model(rgb)
        theirs = bundle.run({"rgb": rgb.numpy()})
        np.testing.assert_allclose(theirs, logits.numpy(), atol=1e-4)
    assert float(logits.std(0).max()) > 0.01  # the clips differ, or nothing was compared
