"""Body networks: architecture of the paper, deformable steps, settings."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emoscope import models
from emoscope.core.errors import SpecError
from emoscope.models.body import ConvLSTMBody, salient_steps

NAMES = ("convlstm-body", "deformable-convlstm")
NINE = (4, 5, 6, 8, 9, 10, 12, 13, 14)

both = pytest.mark.parametrize("name", NAMES)


def outline(name: str, **options: Any) -> ConvLSTMBody:
    """Network of full size, without weights."""
    with torch.device("meta"):
        return models.create(name, **options).eval()  # type: ignore[return-value]


def small(name: str, **options: Any) -> ConvLSTMBody:
    """Small network with batch normalisation statistics of its inputs."""
    torch.manual_seed(0)
    model: Any = models.create(name, **(models.small(name) | options)).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = None  # the statistics are those of what it sees next
    with torch.no_grad():
        model(**model.example_inputs(4))
    return model.eval()


def test_nine_of_sixteen_steps_are_deformable() -> None:
    assert salient_steps(16) == NINE
    for level in outline("deformable-convlstm").levels:
        assert level.deformable_steps == NINE
    for level in outline("convlstm-body").levels:
        assert level.deformable_steps == ()


@pytest.mark.parametrize("steps", range(1, 60))
def test_three_steps_follow_each_quarter_of_any_sequence(steps: int) -> None:
    chosen = salient_steps(steps)
    for quarter in (0.25, 0.5, 0.75):
        passed = [t for t in range(steps) if t / steps >= quarter]
        assert set(passed[:3]) <= set(chosen)
    assert len(chosen) == 9 or steps < 12
    assert all(0.25 <= t / steps < 1 for t in chosen)


def test_maps_have_the_sizes_of_the_paper() -> None:
    model = outline("convlstm-body")
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("cnn3d.pool1", "cnn3d.pool2", "cnn3d", "levels.0", "levels.1", "cnn2d"):
        model.get_submodule(part).register_forward_hook(
            lambda _module, _inputs, output, part=part: shapes.update({part: tuple(output.shape)})
        )
    inputs = {k: v.to("meta") for k, v in model.example_inputs(2).items()}
    assert inputs["rgb"].shape == (2, 32, 3, 112, 112)
    assert model(**inputs).shape == (2, 17)
    assert shapes == {
        "cnn3d.pool1": (2, 64, 32, 56, 56),
        "cnn3d.pool2": (2, 128, 16, 28, 28),
        "cnn3d": (2, 256, 16, 28, 28),
        "levels.0": (2, 16, 256, 28, 28),
        "levels.1": (2, 16, 256, 28, 28),
        "cnn2d": (2 * 16, 256, 3, 3),
    }


def test_the_2d_cnn_handles_each_map_separately_and_averages_over_steps() -> None:
    model = small("convlstm-body")
    rgb = model.example_inputs(2)["rgb"]
    with torch.no_grad():
        maps = model.cnn3d(rgb.movedim(2, 1))  # (B, C, T, H, W)
        states = model.levels(torch.stack(list(maps.unbind(2)), 1))
        pooled = [model.cnn2d(states[:, t]).mean((2, 3)) for t in range(4)]
        expected = model.classifier(sum(pooled) / 4)
        torch.testing.assert_close(model(rgb=rgb), expected, atol=1e-5, rtol=1e-4)


def norm(channels: int) -> int:
    return 2 * channels


@pytest.mark.parametrize(
    ("name", "modulated", "count"),
    [
        ("convlstm-body", False, 7_214_545),
        ("deformable-convlstm", False, 7_297_525),
        ("deformable-convlstm", True, 7_339_015),
    ],
)
def test_parameters_are_those_of_the_equations(name: str, modulated: bool, count: int) -> None:
    cnn3d = 27 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 256) + norm(64) + norm(128) + norm(256)
    gates = 3 * (256 * 256 + 256 * 256 + 256)
    candidate = 9 * 256 * 256 + 9 * 256 * 256 + 256
    per_position = 0 if name == "convlstm-body" else 27 if modulated else 18  # offset channels
    offsets = (9 * 256 + 1) * per_position
    cnn2d = 9 * (256 * 128 + 128 * 256 + 256 * 256) + norm(128) + norm(256) + norm(256)
    reckoned = cnn3d + 2 * (gates + candidate + offsets) + cnn2d + (256 + 1) * 17
    model = outline(name, modulated=modulated)
    assert sum(p.numel() for p in model.parameters()) == reckoned == count


@both
def test_the_clip_has_the_length_and_size_of_the_paper(name: str) -> None:
    spec = outline(name).clip_spec
    assert (spec.region, spec.shapes()) == ("frame", {"rgb": (32, 3, 112, 112)})
    assert spec.sampling is not None
    assert spec.sampling.model_dump() == {"rule": "uniform", "length": 32, "jitter": True}


@pytest.mark.parametrize("modulated", [False, True])
def test_a_fresh_deformable_net_equals_the_plain_one(modulated: bool) -> None:
    plain = small("convlstm-body")
    torch.manual_seed(1)
    options = models.small("deformable-convlstm")
    fresh: Any = models.create("deformable-convlstm", modulated=modulated, **options).eval()
    missing, unexpected = fresh.load_state_dict(plain.state_dict(), strict=False)
    offsets = ("weight", "bias")
    assert set(missing) == {f"levels.{n}.offset_conv.{kind}" for n in (0, 1) for kind in offsets}
    assert unexpected == []
    inputs = plain.example_inputs(2)
    with torch.no_grad():
        torch.testing.assert_close(fresh(**inputs), plain(**inputs), atol=1e-5, rtol=0)
        for level in fresh.levels:
            nn.init.normal_(level.offset_conv.bias)
        assert (fresh(**inputs) - plain(**inputs)).abs().max() > 0.01


def moving_squares(leftward: bool, count: int = 8) -> Tensor:
    """(N, 8, 3, 32, 32): a bright square that moves by two pixels per frame."""
    generator = torch.Generator().manual_seed(int(leftward))
    clips = torch.zeros(count, 8, 3, 32, 32)
    for clip in clips:
        row, column = torch.randint(0, 10, (2,), generator=generator).tolist()
        for t in range(8):
            x = column + 2 * (7 - t if leftward else t)
            clip[t, :, row : row + 8, x : x + 8] = 1
    return clips


@both
def test_it_learns_the_direction_of_motion(name: str) -> None:
    torch.manual_seed(0)
    model = models.create(name, num_classes=2, **models.small(name)).train()
    rgb = torch.cat([moving_squares(False), moving_squares(True)])
    truth = torch.arange(2).repeat_interleave(8)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(25):
        loss = nn.functional.cross_entropy(model(rgb=rgb), truth)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    assert loss < 0.3
    if name == "deformable-convlstm":
        assert model.levels[0].offset_conv.weight.abs().sum() > 0  # type: ignore[index, union-attr]


def test_width_and_hidden_scale_the_network() -> None:
    half = outline("convlstm-body", width=0.5, hidden=(256, 384))
    filters = [m.out_channels for m in half.modules() if isinstance(m, nn.Conv3d)]
    assert filters == [32, 64, 128, 128]
    states = [half.get_parameter(f"levels.{n}.hidden_conv.weight").shape[0] for n in (0, 1)]
    assert states == [128, 192]
    inputs = {k: v.to("meta") for k, v in half.example_inputs(1).items()}
    assert half(**inputs).shape == (1, 17)


@pytest.mark.parametrize("frames", [2, 3, 9])
def test_clips_of_two_or_more_frames_are_accepted(frames: int) -> None:
    model = small("deformable-convlstm", frames=frames)
    with torch.no_grad():
        assert model(**model.example_inputs(1)).shape == (1, 17)


@both
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"width": 0}, "width 0 leaves no filters"),
        ({"frames": 1}, "frames must be 2 or more"),
        ({"size_px": 31}, "size_px 31 is too small"),
        (
            {"deformable_steps": (2, 4), "frames": 8},
            r"must be below 4, half the frames, got \[2, 4",
        ),
    ],
)
def test_invalid_settings_are_refused(name: str, option: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        outline(name, **option)
