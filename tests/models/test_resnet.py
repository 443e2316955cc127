"""ResNet: names and shapes of torchvision's weights, and arithmetic."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscope.core.errors import SpecError
from emoscope.models.resnet import ResNet

COUNTS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032}  # with ImageNet's 1,000 classes
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def outline(**options: Any) -> ResNet:
    """Network without weights."""
    with torch.device("meta"):
        return ResNet(**options).eval()


def stirred(**options: Any) -> ResNet:
    """Narrow network with batch normalisation statistics of its inputs."""
    torch.manual_seed(0)
    model = ResNet(width=1 / 16, **options)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, model.conv1.in_channels, 64, 64))
    return model.eval()


def published_shapes(depth: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in torchvision's file."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(conv: str, norm: str, filters: int, channels: int, kernel: int) -> None:
        shapes[f"{conv}.weight"] = (filters, channels, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = (filters,)
        shapes[f"{norm}.num_batches_tracked"] = ()

    conv("conv1", "bn1", 64, 3, 7)
    channels, wider = 64, 4 if depth == 50 else 1
    for stage, (count, filters) in enumerate(zip(BLOCKS[depth], (64, 128, 256, 512), strict=True)):
        for i in range(count):
            block = f"layer{stage + 1}.{i}"
            sizes = [(filters, channels, 3), (filters, filters, 3)]
            if depth == 50:
                sizes = [(filters, channels, 1), (filters, filters, 3), (4 * filters, filters, 1)]
            for n, size in enumerate(sizes, start=1):
                conv(f"{block}.conv{n}", f"{block}.bn{n}", *size)
            if i == 0 and channels != wider * filters:
                conv(f"{block}.downsample.0", f"{block}.downsample.1", wider * filters, channels, 1)
            channels = wider * filters
    shapes |= {"fc.weight": (1000, channels), "fc.bias": (1000,)}
    return shapes


def by_hand(state: dict[str, Tensor], depth: int, x: Tensor) -> Tensor:
    """Reference implementation: maps of the last stage."""

    def normed(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias)

    x = F.conv2d(x, state["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(normed(x, "bn1").relu(), 3, 2, 1)
    for stage, count in enumerate(BLOCKS[depth], start=1):
        for i in range(count):
            block, y, stride = f"layer{stage}.{i}", x, 2 if i == 0 and stage > 1 else 1
            convs = 3 if depth == 50 else 2
            for n in range(1, convs + 1):
                weight = state[f"{block}.conv{n}.weight"]
                strided = n == (2 if depth == 50 else 1)
                y = F.conv2d(
                    y, weight, stride=stride if strided else 1, padding=weight.shape[-1] // 2
                )
                y = normed(y, f"{block}.bn{n}")
                y = y if n == convs else y.relu()
            if f"{block}.downsample.0.weight" in state:
                x = F.conv2d(x, state[f"{block}.downsample.0.weight"], stride=stride)
                x = normed(x, f"{block}.downsample.1")
            x = (x + y).relu()
    return x


@pytest.mark.parametrize(("depth", "count"), COUNTS.items())
def test_parameters_are_as_many_as_published(depth: int, count: int) -> None:
    assert sum(p.numel() for p in outline(depth=depth).parameters()) == count


@pytest.mark.parametrize("depth", COUNTS)
def test_names_and_shapes_are_torchvisions(depth: int) -> None:
    state = outline(depth=depth).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == published_shapes(depth)


def test_resnet50_has_320_tensors() -> None:
    assert [len(published_shapes(depth)) for depth in COUNTS] == [122, 218, 320]


@pytest.mark.parametrize("depth", [18, 50])
def test_logits_equal_a_reference_implementation(depth: int) -> None:
    model = stirred(num_classes=5, depth=depth)
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = by_hand(model.state_dict(), depth, pictures)
        torch.testing.assert_close(model.features(pictures), maps)
        torch.testing.assert_close(model(pictures), model.fc(maps.mean((2, 3))))
        assert maps.std() > 0


@pytest.mark.parametrize(("depth", "channels"), [(18, 512), (34, 512), (50, 2048)])
def test_maps_are_a_32nd_of_the_image(depth: int, channels: int) -> None:
    model = outline(depth=depth, channels_in=2, num_classes=None)
    maps = model.features(torch.zeros(1, 2, 224, 192, device="meta"))
    assert maps.shape == (1, channels, 7, 6)
    assert model.channels_out == channels


def test_without_classes_it_returns_features() -> None:
    model = stirred(num_classes=None)
    flow = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(flow), model.features(flow).mean((2, 3)))
    assert not any(key.startswith("fc") for key in model.state_dict())


def test_width_scales_all_channels() -> None:
    whole, half = outline(depth=50).state_dict(), outline(depth=50, width=0.5).state_dict()
    for key, value in half.items():
        for axis, (size, full) in enumerate(zip(value.shape, whole[key].shape, strict=True)):
            given = (key == "conv1.weight" and axis != 0) or (key.startswith("fc") and axis == 0)
            assert size == (full if given or axis > 1 else full // 2), key


def test_activations_keep_their_scale_at_initialisation() -> None:
    torch.manual_seed(0)
    model = ResNet(depth=34, width=1 / 4)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    for conv in convs:
        fan_out = conv.out_channels * conv.kernel_size[0] ** 2
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, "depth must be one of 18, 34, 50, got 20"),
        ({"width": 0}, "width 0 leaves no filters"),
    ],
)
def test_invalid_depths_and_widths_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ResNet(**options)
