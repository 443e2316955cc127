"""four-stream: parameter counts, sizes of maps, and their sum."""

from itertools import combinations, pairwise
from typing import Any

import pytest
import torch
from torch import nn

from emoscope import models
from emoscope.core.errors import SpecError
from emoscope.media.clips import Clip, build_clip
from emoscope.models.convlstm import ConvLSTM, EnhancedConvLSTM
from emoscope.models.resnet import ResNet

KINDS = ("rgb", "flow", "dynamic_rgb", "dynamic_flow")
SMALL = {"width": 1 / 16, "frames": 3, "size_px": 32}
ROWS: dict[str, dict[str, Any]] = {  # of the paper's ablation
    "a": {"streams": ("dynamic_rgb", "dynamic_flow")},
    "b": {"streams": ("rgb", "flow"), "cell": "conventional"},
    "c": {"streams": ("rgb", "flow")},
    "d": {"cell": "conventional"},
    "e": {},
}


def small(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return models.create("four-stream", **{**SMALL, **options})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def stack(channels: int, hidden: tuple[int, ...], side: int, skips: bool) -> int:
    """Parameters of four layers, each of which halves the maps."""
    total = 0
    sizes = pairwise((channels, *hidden))
    for (before, after), kernel in zip(sizes, (5, 5, 3, 3), strict=True):
        total += kernel**2 * (before + after) * 4 * after + 4 * after  # gates
        total += 3 * after * side**2  # peepholes
        total += kernel**2 * before * after + 2 * after if skips else 0  # W_xs, normalisation
        side //= 2
    return total


@pytest.mark.parametrize("row", ROWS)
def test_parameter_counts_of_the_ablation_follow_from_the_equations(row: str) -> None:
    with torch.device("meta"):
        model = models.create("four-stream", **ROWS[row])
    expected = 7 * 7 * 512 * 1024 + 1024 + 1024 * 256 + 256 + 256 * 6 + 6
    streams = ROWS[row].get("streams", KINDS)
    skips = ROWS[row].get("cell") != "conventional"
    expected += sum(stack(c, (64, 128, 256, 512), 112, skips) for c in (3, 2) if "rgb" in streams)
    if "dynamic_rgb" in streams:
        resnet = 11_689_512 - 512 * 1000 - 1000  # without its last layer; colour
        expected += resnet + resnet - 64 * 7 * 7  # flow has a channel fewer
    assert count(model) == expected


def test_networks_have_the_cells_and_trunks_of_their_options() -> None:
    for row, options in ROWS.items():
        model = small(**options)
        cells = [type(m) for m in model.modules() if isinstance(m, ConvLSTM)]
        resnets = [m for m in model.modules() if isinstance(m, ResNet)]
        expected = {"a": 0, "b": 8, "c": 8, "d": 8, "e": 8}[row]
        cell = ConvLSTM if row in "bd" else EnhancedConvLSTM
        assert cells == [cell] * expected
        assert len(resnets) == (2 if row in "ade" else 0)


@pytest.mark.parametrize(
    "streams", [chosen for n in (1, 2, 3, 4) for chosen in combinations(KINDS, n)]
)
def test_any_subset_of_streams_is_accepted(streams: tuple[str, ...]) -> None:
    model = small(streams=streams, num_classes=4)
    inputs = model.example_inputs(2)
    assert tuple(inputs) == streams
    assert model(**inputs).shape == (2, 4)


def test_the_maps_of_all_streams_are_added() -> None:
    """The classifier's input is the sum of the last maps of all streams."""
    model = small().eval()
    inputs = model.example_inputs(2)
    maps: list[torch.Tensor] = []
    for one in model.recurrent.values():  # type: ignore[operator, union-attr]
        one.register_forward_hook(lambda m, i, output: maps.append(output))
    for one in model.residual.values():  # type: ignore[operator, union-attr]
        one.layer4.register_forward_hook(lambda m, i, output: maps.append(output.tanh()))
    given: list[torch.Tensor] = []
    model.classifier.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda m, args: given.append(args[0])
    )
    model(**inputs)
    assert [m.shape for m in maps] == [(2, 32, 2, 2)] * 4
    torch.testing.assert_close(given[0], torch.stack(maps).sum(0))


@pytest.mark.parametrize(("size_px", "wanted"), [(120, 224), (48, 96), (111, 192)])
def test_maps_of_different_sizes_are_refused_with_a_size_that_fits(
    size_px: int, wanted: int
) -> None:
    with pytest.raises(SpecError, match=f"give dynamic_px {wanted}") as refused:
        small(size_px=size_px, dynamic_px=wanted + 1)
    assert len(str(refused.value).splitlines()) == 1
    model = small(size_px=size_px, dynamic_px=wanted)
    assert model(**model.example_inputs(1)).shape == (1, 6)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"streams": ()}, "streams must be one or more of rgb, flow, dynamic_rgb, dynamic_flow"),
        ({"streams": ("rgb", "rgb")}, "each once"),
        ({"streams": ("gray",)}, "streams must be one or more of"),
        ({"cell": "gru"}, "cell must be one of conventional, enhanced, got 'gru'"),
        ({"size_px": 15, "streams": ("rgb",)}, "too small for four poolings"),
        ({"width": 0}, "leaves no filters"),
    ],
)
def test_invalid_settings_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        small(**options)


def test_a_still_clip_has_no_motion_in_any_stream(rng_clip: Clip) -> None:
    still = Clip([rng_clip.frames[0]] * 16, times_s=[i / 8 for i in range(16)])
    model = models.create("four-stream", width=1 / 16)
    built = build_clip(still, model.clip_spec)
    assert {kind: abs(built[kind]).max() for kind in KINDS[1:]} == dict.fromkeys(KINDS[1:], 0)
    assert built["rgb"].shape == (16, 3, 112, 112)
    assert built["dynamic_flow"].shape == (1, 2, 224, 224)


@pytest.fixture
def rng_clip() -> Clip:
    pixels = torch.randint(0, 255, (60, 60, 3), generator=torch.Generator().manual_seed(0))
    return Clip([pixels.to(torch.uint8).numpy()])


def test_the_first_frame_reaches_the_logits_through_every_layer() -> None:
    model = small(streams=("rgb",), frames=8).eval()
    inputs = model.example_inputs(1)
    inputs["rgb"].requires_grad_()
    model(**inputs).sum().backward()
    per_frame = inputs["rgb"].grad.abs().sum((0, 2, 3, 4))
    assert (per_frame > 0).all()


def test_flow_is_scaled_by_the_size_of_the_picture() -> None:
    """The same motion is a quarter of the pixels in a quarter of the size."""
    whole, quarter = (
        models.create("four-stream", width=1 / 16, size_px=side, streams=("flow",)).clip_spec
        for side in (112, 28)
    )
    hows = [spec.streams[0].normalisation for spec in (whole, quarter)]  # type: ignore[union-attr, index]
    assert [(how.limit, *how.std) for how in hows] == [(10.0, 2.5), (2.5, 0.625)]
