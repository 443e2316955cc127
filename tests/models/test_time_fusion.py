"""Time-fusion networks: architecture of the paper, and the arithmetic of docs/time-fusion.md."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emoscope import models
from emoscope.core.errors import SpecError
from emoscope.media.clips import Clip, build_clip, frames_needed
from emoscope.models.time_fusion_blocks import MIN_PX, Sizes, Trunk

# Table I of the paper, and the classes that it must have been counted with.
TABLE = {
    "single-frame": (8, 24_760_392),
    "early-fusion": (8, 25_074_024),
    "late-fusion": (8, 28_954_696),
    "slow-fusion": (6, 26_355_878),
    "conv3d": (6, 26_050_694),
    "cnn-gru": (6, 3_763_390),
}
# Keras 2's GRU (reset_after=False) has one bias of 3 x 5; torch's has a second, of the recurrent
# product.
SECOND_BIAS = 3 * 5
PAGE = Path(__file__).parents[2] / "docs" / "time-fusion.md"

everywhere = pytest.mark.parametrize("name", TABLE)


def outline(name: str, **options: Any) -> nn.Module:
    """Network of full size, without weights."""
    with torch.device("meta"):
        return models.create(name, **options).eval()


def small(name: str, **options: Any) -> Any:
    """Small network with batch normalisation statistics of its inputs."""
    torch.manual_seed(0)
    model = models.create(name, **(models.small(name) | options)).train()
    with torch.no_grad():
        model(**model.example_inputs(4))
    return model.eval()


def outputs(model: nn.Module, batch: int = 2) -> dict[str, tuple[int, ...]]:
    """Output shapes of all layers."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(layer: str) -> Any:
        return lambda _module, _inputs, output: shapes.update({layer: tuple(output.shape)})

    for layer, module in model.named_modules():
        if layer and not isinstance(module, nn.GRU):
            module.register_forward_hook(note(layer))
    inputs = {k: v.to("meta") for k, v in model.example_inputs(batch).items()}
    shapes["logits"] = tuple(model(**inputs).shape)
    return shapes


@everywhere
def test_parameters_are_those_of_table_1(name: str) -> None:
    classes, published = TABLE[name]
    more = SECOND_BIAS if name == "cnn-gru" else 0
    model = outline(name, num_classes=classes)
    assert sum(p.numel() for p in model.parameters()) == published + more


@everywhere
def test_the_default_is_the_six_classes_of_the_task(name: str) -> None:
    assert outputs(outline(name))["logits"] == (2, 6)


def test_maps_of_the_trunk_have_the_sizes_of_the_paper() -> None:
    sides = {
        "trunk.block1.conv": (96, 54),
        "trunk.block1.pool": (96, 27),
        "trunk.block2.conv": (256, 23),
        "trunk.block2.pool": (256, 11),
        "trunk.block3.conv1": (384, 9),
        "trunk.block3.conv2": (384, 7),
        "trunk.block3.conv3": (256, 5),
        "trunk.block3.pool": (256, 2),
    }
    for name in ("single-frame", "early-fusion"):
        shapes = outputs(outline(name))
        for layer, (filters, side) in sides.items():
            assert shapes[layer] == (2, filters, side, side)
        assert shapes["trunk"] == (2, 1024)
        assert shapes["head.relu1"] == shapes["head.relu2"] == (2, 4096)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("late-fusion", {"trunk": (4, 1024), "head.fc1": (2, 4096)}),
        (
            "slow-fusion",
            {
                "block1.conv": (8, 96, 54, 54),
                "block1": (8, 96, 27, 27),
                "block2.conv": (4, 256, 23, 23),
                "block2": (4, 256, 11, 11),
                "block3": (2, 1024),
            },
        ),
        (
            "conv3d",
            {
                "block1.conv": (2, 96, 3, 54, 54),
                "block1": (2, 96, 3, 27, 27),
                "block2.conv": (2, 256, 1, 23, 23),
                "block2": (2, 256, 1, 11, 11),
                "block3": (2, 1024),
            },
        ),
        ("cnn-gru", {"trunk": (10, 1024), "classifier": (2, 6)}),
    ],
)
def test_towers_are_those_of_the_paper_and_run_in_one_call(
    name: str, expected: dict[str, tuple[int, ...]]
) -> None:
    shapes = outputs(outline(name))
    assert {layer: shapes[layer] for layer in expected} == expected


@everywhere
def test_blocks_normalise_before_they_pool(name: str) -> None:
    model = outline(name)
    trunk: Any = getattr(model, "trunk", model)
    for block in (trunk.block1, trunk.block2):
        assert [layer for layer, _ in block.named_children()] == ["conv", "relu", "norm", "pool"]


@pytest.mark.parametrize("spacing", [15, 4])
def test_late_fusion_uses_two_frames_and_no_other(spacing: int) -> None:
    model = small("late-fusion", spacing=spacing)
    frames = [np.full((8, 8, 3), i, dtype=np.uint8) for i in range(20)]
    rgb = build_clip(Clip(frames), model.clip_spec)["rgb"]
    assert [round(255 * frame.mean()) for frame in rgb] == [20 - spacing, 19]


def test_late_fusion_applies_the_trunk_to_each_frame() -> None:
    model = small("late-fusion")
    rgb = model.example_inputs(3)["rgb"]
    with torch.no_grad():
        early, late = (model.trunk(rgb[:, i]) for i in range(2))
        torch.testing.assert_close(model(rgb), model.head(torch.cat([early, late], 1)))
        # One set of weights: frames may change places if the first layer's columns do.
        before = model(rgb)
        assert not torch.allclose(model(rgb.flip(1)), before)
        weight = model.head.fc1.weight
        weight.copy_(torch.cat(weight.chunk(2, 1)[::-1], 1))
        torch.testing.assert_close(model(rgb.flip(1)), before)


def test_towers_of_slow_fusion_share_blocks_one_and_two() -> None:
    model = small("slow-fusion")
    rgb = model.example_inputs(3)["rgb"]
    with torch.no_grad():
        first = [model.block1(rgb[:, i : i + 4].flatten(1, 2)) for i in (0, 2, 4, 6)]
        second = [model.block2(torch.cat(pair, 1)) for pair in (first[:2], first[2:])]
        expected = model.head(model.block3(torch.cat(second, 1)))
        torch.testing.assert_close(model(rgb), expected)


def test_cnn_gru_reads_the_trunk_of_every_frame_in_order() -> None:
    model = small("cnn-gru")
    rgb = model.example_inputs(3)["rgb"]
    with torch.no_grad():
        features = torch.stack([model.trunk(rgb[:, i]) for i in range(5)], 1)
        states, _ = model.gru(features)
        torch.testing.assert_close(model(rgb), model.classifier(states[:, -1]))
        assert not torch.allclose(model(rgb.flip(1)), model(rgb))


def test_early_fusion_stacks_frames_in_order_on_channels() -> None:
    model = small("early-fusion")
    rgb = model.example_inputs(3)["rgb"]
    with torch.no_grad():
        stacked = torch.cat([rgb[:, i] for i in range(10)], 1)
        torch.testing.assert_close(model(rgb), model.head(model.trunk(stacked)))


def test_conv3d_covers_three_frames_then_five() -> None:
    model = small("conv3d")
    rgb = model.example_inputs(1)["rgb"].requires_grad_()
    first = model.block1(rgb.transpose(1, 2))
    assert [frames_behind(first[:, :, i], rgb) for i in range(3)] == [
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
    ]
    second = model.block2(first)
    assert frames_behind(second, rgb) == [0, 1, 2, 3, 4]
    torch.testing.assert_close(model(rgb), model.head(model.block3(second[:, :, 0])))


def frames_behind(output: Tensor, rgb: Tensor) -> list[int]:
    """Indices of the frames with a non-zero gradient."""
    (gradient,) = torch.autograd.grad(output.square().sum(), rgb, retain_graph=True)
    return gradient.abs().sum((0, 2, 3, 4)).nonzero().flatten().tolist()


@everywhere
def test_a_window_contains_the_required_frames_at_any_start(name: str) -> None:
    spec: Any = outline(name).clip_spec
    assert spec.region == "face"
    assert spec.rate_hz is None
    for rate_hz, start_s in itertools.product((24, 24000 / 1001, 25, 30), (0.0, 0.01, 0.037)):
        times_s = np.arange(100) / rate_hz
        held = (times_s >= start_s) & (times_s < start_s + spec.window.length_s)
        assert held.sum() >= frames_needed(spec)


def test_weights_are_initialised_as_in_keras() -> None:
    model = small("cnn-gru", width=1 / 4)
    conv, gru = model.trunk.block3.conv1.weight.detach(), model.gru
    limit = math.sqrt(6 / (9 * (conv.shape[0] + conv.shape[1])))
    assert 0.99 * limit < conv.abs().max() <= limit
    again = gru.weight_hh_l0.T @ gru.weight_hh_l0
    torch.testing.assert_close(again, torch.eye(5))
    for key, parameter in model.named_parameters():
        if "bias" in key:
            assert not parameter.any(), key


def test_logits_of_faces_differ_at_initialisation() -> None:
    model = small("single-frame")
    rgb = model.example_inputs(8)["rgb"]
    with torch.no_grad():
        ours = model.train()(rgb).std(0).mean()
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        assert ours > 5 * model(rgb).std(0).mean()


def test_width_scales_filters_and_units() -> None:
    model: Any = outline("single-frame", width=0.5)
    trunk = model.trunk
    assert (trunk.block1.conv.out_channels, trunk.block3.conv3.out_channels) == (48, 128)
    assert (model.head.fc1.in_features, model.head.fc1.out_features) == (512, 2048)


def test_the_minimum_size_is_the_smallest_that_works() -> None:
    with torch.device("meta"):
        trunk = Trunk(Sizes(1.0, MIN_PX)).eval()
        assert trunk(torch.zeros(1, 3, MIN_PX, MIN_PX)).shape == (1, 256)
        with pytest.raises(RuntimeError, match="too small"):
            trunk(torch.zeros(1, 3, MIN_PX - 1, MIN_PX - 1))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("conv3d", {"size_px": 127}, "size_px 127 is too small.*128 or more"),
        ("cnn-gru", {"width": 0}, "width 0 leaves no filters"),
        ("early-fusion", {"frames": 0}, "frames must be 1 or more, got 0"),
        ("late-fusion", {"spacing": 1}, "spacing must be 2 or more.*got 1"),
    ],
)
def test_invalid_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as raised:
        models.create(name, **options)
    assert "\n" not in str(raised.value)


@everywhere
def test_the_paper_size_runs(name: str) -> None:
    torch.manual_seed(0)
    model: Any = models.create(name).eval()
    with torch.no_grad():
        logits = model(**model.example_inputs(1))
    assert logits.shape == (1, 6)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def tables() -> list[list[list[str]]]:
    """Tables of the page as rows of cells, without headings."""
    rows_of_tables: list[list[list[str]]] = [[]]
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            rows_of_tables[-1].append(
                [cell.strip().strip("`") for cell in line.strip("|").split("|")]
            )
        elif rows_of_tables[-1]:
            rows_of_tables.append([])
    return [table[2:] for table in rows_of_tables if table]


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def reckoned(arithmetic: str, **values: Any) -> Any:
    """Evaluate sums and products of numbers and names."""
    assert set(arithmetic) <= set("0123456789abcdefghijklmnopqrstuvwxyz+-*() ")
    return eval(arithmetic, {"__builtins__": {}}, values)


def layers_on_the_page() -> dict[str, dict[str, tuple[str, int]]]:
    """{network: {layer or "all": arithmetic and count}}."""
    first, second, *_ = tables()
    single = {layer: (arithmetic, number(count)) for layer, arithmetic, count in first}
    systems = {"single-frame": single}
    for name, layer, arithmetic, count in second:
        base = {k: v for k, v in single.items() if name != "cnn-gru" or "head" not in k}
        systems.setdefault(name, base)[layer] = (arithmetic, number(count))
    return systems


@everywhere
def test_the_page_lists_the_count_of_every_layer(name: str) -> None:
    page = layers_on_the_page()[name]
    classes, published = TABLE[name]
    layers = {
        key.removeprefix("trunk."): sum(p.numel() for p in module.parameters())
        for key, module in outline(name, num_classes=classes).named_modules()
        if not list(module.children()) and list(module.parameters())
    }
    if name == "cnn-gru":
        layers["gru"] -= SECOND_BIAS
    _, total = page.pop("all")
    assert {layer: count for layer, (_, count) in page.items()} == layers
    assert all(reckoned(arithmetic) == count for arithmetic, count in page.values())
    assert sum(layers.values()) == total == published


def test_the_parameter_counts_determine_the_filters() -> None:
    known: dict[str, int] = {}
    for _, left, right, answer in tables()[2]:
        stated = {key: int(value) for key, value in (a.split(" = ") for a in answer.split(", "))}
        unknown, other = stated
        sizes = np.arange(1, 1025)
        counts = np.arange(1 if other == "classes" else -49, 51)
        values = {**known, unknown: sizes[:, None], other: counts}
        fits = np.argwhere(reckoned(right, **values) == reckoned(left))
        assert [[sizes[i], counts[j]] for i, j in fits] == [[*stated.values()]]
        known[unknown] = stated[unknown]
    assert list(known) == ["f1", "f5", "f2", "f3", "f4", "h"]
    model: Any = outline("cnn-gru")
    convs = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [*convs, model.gru.hidden_size] == [
        known[k] for k in ("f1", "f2", "f3", "f4", "f5", "h")
    ]


def test_no_other_interpretation_gives_the_paper_count() -> None:
    for _, name, arithmetic, count, published in tables()[3]:
        assert reckoned(arithmetic) == number(count) != number(published) == TABLE[name][1]


def test_other_interpretations_are_counts_of_networks() -> None:
    wide = outline("cnn-gru", hidden_size=256)
    counted = {row[0]: number(row[3]) for row in tables()[3]}
    ours = sum(p.numel() for p in wide.parameters())
    assert counted["a GRU of 256"] == ours - 3 * 256
    assert counted["torch's GRU"] == sum(p.numel() for p in outline("cnn-gru").parameters())
    six = outline("single-frame", num_classes=6)
    assert counted["six classes"] == sum(p.numel() for p in six.parameters())
