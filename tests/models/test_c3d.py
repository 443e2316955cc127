"""C3D: parameter counts and names of published weights, and arithmetic of the paper."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscope import models
from emoscope.core.clipspec import Last
from emoscope.core.errors import SpecError
from emoscope.media.clips import frames_needed

CONVS = {
    "conv1": (64, 3),
    "conv2": (128, 64),
    "conv3a": (256, 128),
    "conv3b": (256, 256),
    "conv4a": (512, 256),
    "conv4b": (512, 512),
    "conv5a": (512, 512),
    "conv5b": (512, 512),
}


def outline(**options: Any) -> Any:
    """Network without weights."""
    with torch.device("meta"):
        return models.create("c3d", **options).eval()


def small(**options: Any) -> Any:
    torch.manual_seed(0)
    return models.create("c3d", **(models.small("c3d") | options)).eval()


def test_parameters_are_as_many_as_published() -> None:
    assert sum(p.numel() for p in outline(num_classes=101).parameters()) == 78_409_573


def test_names_and_shapes_are_those_of_sports_1m() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (filters, channels) in CONVS.items():
        shapes |= {f"{name}.weight": (filters, channels, 3, 3, 3), f"{name}.bias": (filters,)}
    for name, size in (("fc6", (4096, 8192)), ("fc7", (4096, 4096)), ("fc8", (487, 4096))):
        shapes |= {f"{name}.weight": size, f"{name}.bias": size[:1]}
    state = outline(num_classes=487).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == shapes


def test_it_takes_sixteen_consecutive_frames() -> None:
    spec = outline().clip_spec
    assert (spec.region, spec.sampling) == ("face", Last(length=16))
    assert spec.shapes() == {"rgb": (16, 3, 112, 112)}
    assert frames_needed(spec) < 24 * spec.window.length_s


def test_the_paper_size_gives_8192_features() -> None:
    model = outline(num_classes=101)
    seen: list[tuple[int, ...]] = []
    for pool in model.pools:
        pool.register_forward_hook(lambda _m, _given, out: seen.append(tuple(out.shape)[1:]))
    assert model(torch.zeros(2, 16, 3, 112, 112, device="meta")).shape == (2, 101)
    assert seen == [
        (64, 16, 56, 56),
        (128, 8, 28, 28),
        (256, 4, 14, 14),
        (512, 2, 7, 7),
        (512, 1, 4, 4),
    ]


def by_hand(state: dict[str, Tensor], rgb: Tensor) -> Tensor:
    """Reference implementation without batch normalisation."""
    x = rgb.transpose(1, 2)
    for name in CONVS:
        x = F.conv3d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).relu()
        if name == "conv1":
            x = F.max_pool3d(x, (1, 2, 2))
        elif name in ("conv2", "conv3b", "conv4b"):
            x = F.max_pool3d(x, 2)
    x = F.max_pool3d(x, 2, padding=(0, 1, 1)).flatten(1)
    for name in ("fc6", "fc7"):
        x = F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
    return F.linear(x, state["fc8.weight"], state["fc8.bias"])


@pytest.mark.parametrize("size_px", [16, 32, 56])
def test_logits_equal_a_reference_implementation(size_px: int) -> None:
    model = small(size_px=size_px)
    rgb = model.example_inputs()["rgb"]
    with torch.no_grad():
        torch.testing.assert_close(model(rgb), by_hand(model.state_dict(), rgb))
        assert model(rgb).std(0).mean() > 0.01


def test_batch_normalisation_follows_every_convolution() -> None:
    model = small(batch_norm=True)
    order: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv3d | nn.BatchNorm3d):
            module.register_forward_hook(lambda _m, _given, _out, name=name: order.append(name))
    model(**model.example_inputs())
    assert order == [part for conv in CONVS for part in (conv, conv.replace("conv", "bn"))]


def test_width_scales_filters_and_units() -> None:
    model = outline(width=0.25)
    assert (model.conv1.out_channels, model.conv5b.out_channels) == (16, 128)
    assert (model.fc6.in_features, model.fc7.out_features) == (2048, 1024)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_px": 15}, "size_px 15 is too small.*Give 16 or more"),
        ({"width": 0}, "width 0 leaves no filters"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        small(**options)
