"""VGG: names and shapes of torchvision's weights, and arithmetic; recurrent networks."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscope import models
from emoscope.core.clipspec import ClipSpec, Last, Uniform
from emoscope.core.errors import SpecError
from emoscope.media.clips import frames_needed
from emoscope.models.vgg import VGG

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


def outline(name: str = "vgg16", **options: Any) -> Any:
    """Network without weights."""
    with torch.device("meta"):
        return models.create(name, **options).eval()


def small(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return models.create(name, **(models.small(name) | options)).eval()


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def published_shapes(depth: int, batch_norm: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in torchvision's file."""
    shapes: dict[str, tuple[int, ...]] = {}
    place, channels = 0, 3
    for convs, filters in zip(STAGES[depth], FILTERS, strict=True):
        for _ in range(convs):
            shapes[f"features.{place}.weight"] = (filters, channels, 3, 3)
            shapes[f"features.{place}.bias"] = (filters,)
            if batch_norm:
                for part in ("weight", "bias", "running_mean", "running_var"):
                    shapes[f"features.{place + 1}.{part}"] = (filters,)
                shapes[f"features.{place + 1}.num_batches_tracked"] = ()
            place, channels = place + (3 if batch_norm else 2), filters
        place += 1
    for layer, size in ((0, (4096, 25088)), (3, (4096, 4096)), (6, (1000, 4096))):
        shapes[f"classifier.{layer}.weight"] = size
        shapes[f"classifier.{layer}.bias"] = size[:1]
    return shapes


def by_hand(state: dict[str, Tensor], depth: int, x: Tensor, upto: str = "fc8") -> Tensor:
    """Reference implementation for colour images, without batch normalisation."""
    place = 0
    for convs in STAGES[depth]:
        for _ in range(convs):
            weight, bias = state[f"features.{place}.weight"], state[f"features.{place}.bias"]
            x = F.conv2d(x, weight, bias, padding=1).relu()
            place += 2
        x, place = F.max_pool2d(x, 2), place + 1
    x = x.flatten(1)
    for name, layer in (("fc6", 0), ("fc7", 3), ("fc8", 6)):
        x = F.linear(x, state[f"classifier.{layer}.weight"], state[f"classifier.{layer}.bias"])
        x = x if name == "fc8" else x.relu()
        if name == upto:
            break
    return x


@pytest.mark.parametrize(
    ("depth", "classes", "published"),
    [(16, 1000, 138_357_544), (16, 2622, 145_002_878), (19, 1000, 143_667_240)],
)
def test_parameters_are_as_many_as_published(depth: int, classes: int, published: int) -> None:
    assert count(outline(depth=depth, num_classes=classes)) == published


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("depth", STAGES)
def test_names_and_shapes_are_torchvisions(depth: int, batch_norm: bool) -> None:
    state = outline(depth=depth, batch_norm=batch_norm, num_classes=1000).state_dict()
    expected = published_shapes(depth, batch_norm)
    assert {key: tuple(value.shape) for key, value in state.items()} == expected


def test_logits_equal_a_reference_implementation_on_repeated_grey() -> None:
    model = small("vgg16", size_px=64)
    gray = model.example_inputs()["gray"]
    with torch.no_grad():
        expected = by_hand(model.state_dict(), 16, gray[:, 0].repeat(1, 3, 1, 1))
        torch.testing.assert_close(model(gray), expected)


def test_a_face_is_one_grey_picture_of_224() -> None:
    spec: ClipSpec = outline().clip_spec
    assert (spec.region, spec.sampling) == ("face", Last(length=1))
    assert spec.shapes() == {"gray": (1, 1, 224, 224)}


def trunk_parameters(depth: int, upto: str) -> int:
    """Parameters of 3 × 3 convolutions with biases, fc6, and fc7."""
    total, channels = 0, 3
    for convs, filters in zip(STAGES[depth], FILTERS, strict=True):
        for _ in range(convs):
            total += 9 * channels * filters + filters
            channels = filters
    total += 25088 * 4096 + 4096
    return total + (4096 * 4096 + 4096 if upto == "fc7" else 0)


def lstm_parameters(inputs: int, hidden: int) -> int:
    """Parameters of one direction: four gates with two biases each, as in torch."""
    return 4 * (inputs * hidden + hidden * hidden + 2 * hidden)


def test_parameters_of_vgg16_bilstm() -> None:
    recurrent = 2 * lstm_parameters(4096, 1024) + 2 * 1024 * 7 + 7
    expected = trunk_parameters(16, "fc6") + recurrent
    assert count(outline("vgg16-bilstm")) == expected == 159_452_999
    more = count(outline("vgg16-bilstm", features="fc7"))
    assert more == trunk_parameters(16, "fc7") + recurrent


def test_parameters_of_vgg19_lstm() -> None:
    expected = trunk_parameters(19, "fc7") + lstm_parameters(4096, 512) + 512 * 6 + 6
    assert count(outline("vgg19-lstm")) == expected == 149_014_598


def test_vgg16_bilstm_takes_64_grey_frames_of_the_whole_clip() -> None:
    model = outline("vgg16-bilstm")
    assert model.clip_spec.sampling == Uniform(length=64)
    assert model.clip_spec.shapes() == {"gray": (64, 1, 224, 224)}
    assert frames_needed(model.clip_spec) < 24 * model.clip_spec.window.length_s
    assert model.dropout.p == 0.85
    assert (model.lstm.hidden_size, model.lstm.bidirectional) == (1024, True)


def test_vgg19_lstm_takes_colour() -> None:
    model = outline("vgg19-lstm")
    assert model.clip_spec.shapes() == {"rgb": (16, 3, 224, 224)}
    assert model.clip_spec.window.length_s == 2


@pytest.mark.parametrize(
    ("name", "depth", "options"),
    [
        ("vgg16-bilstm", 16, {}),
        ("vgg16-bilstm", 16, {"features": "fc7"}),
        ("vgg16-bilstm", 16, {"stream": "rgb"}),
        ("vgg19-lstm", 19, {"features": "fc6"}),
    ],
)
def test_an_lstm_reads_the_features_of_every_frame_in_order(
    name: str, depth: int, options: dict[str, Any]
) -> None:
    model = small(name, **options)
    upto = options.get("features", "fc6")
    (clip,) = model.example_inputs(3).values()
    (stream,) = model.example_inputs(3)
    with torch.no_grad():
        frames = [clip[:, i].expand(-1, 3, -1, -1) for i in range(clip.shape[1])]
        state = model.trunk.state_dict()
        features = torch.stack([by_hand(state, depth, frame, upto) for frame in frames], 1)
        states, _ = model.lstm(features)
        hidden = model.lstm.hidden_size
        last = states[:, -1, :hidden]
        if model.lstm.bidirectional:  # backwards, the last step is the first frame
            last = torch.cat([last, states[:, 0, hidden:]], 1)
        torch.testing.assert_close(model(**{stream: clip}), model.classifier(last))
        assert not torch.allclose(model(**{stream: clip.flip(1)}), model.classifier(last))


def test_dropout_is_applied_to_the_inputs_and_outputs_of_the_lstm() -> None:
    model = small("vgg16-bilstm").train()
    (clip,) = model.example_inputs(8).values()
    seen: dict[str, Tensor] = {}
    model.lstm.register_forward_hook(lambda _m, given, _out: seen.update(inputs=given[0]))
    model.classifier.register_forward_hook(lambda _m, given, _out: seen.update(outputs=given[0]))
    torch.manual_seed(0)
    with torch.no_grad():
        model(clip)
        kept = model.trunk.eval().image_outputs(clip.flatten(0, 1)) > 0
    share = (seen["inputs"].flatten(0, 1)[kept] > 0).float().mean().item()
    assert share == pytest.approx(0.15, abs=0.03)
    assert (seen["outputs"] != 0).float().mean().item() == pytest.approx(0.15, abs=0.04)


def test_width_scales_filters_and_units() -> None:
    model = outline("vgg16-bilstm", width=0.5, fc=1024)
    assert model.trunk.features[0].out_channels == 32
    assert (model.lstm.input_size, model.lstm.hidden_size) == (512, 512)


def test_logits_of_faces_differ_at_initialisation_at_any_depth() -> None:
    torch.manual_seed(0)
    model = VGG(depth=19, width=1 / 8, size_px=32).eval()
    with torch.no_grad():
        faces = torch.randn(8, 1, 1, 32, 32)
        ours = model(faces).std(0).mean()
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()  # torch's own start
        assert ours > 20 * model(faces).std(0).mean()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg16", {"depth": 17}, "depth must be one of 11, 13, 16, 19, got 17"),
        ("vgg16", {"size_px": 31}, "size_px 31 is too small.*Give 32 or more"),
        ("vgg16", {"width": -1}, "width -1 leaves no filters"),
        ("vgg16-bilstm", {"frames": 0}, "frames must be 1 or more, got 0"),
        ("vgg16-bilstm", {"features": "fc8"}, "features must be one of fc6, fc7, got 'fc8'"),
        ("vgg19-lstm", {"stream": "flow"}, "stream must be one of rgb, gray, got 'flow'"),
    ],
)
def test_invalid_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        small(name, **options)
