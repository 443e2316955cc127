"""Published weights are loaded by name; files that do not fit are refused; no code is run."""

import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emoscope import models
from emoscope.core.errors import RecipeError
from emoscope.models.c3d import C3D
from emoscope.models.checkpoints import load_checkpoint
from emoscope.models.resnet import ResNet
from emoscope.models.vgg import VGG

PLACES_VGG = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
NAMES_VGG = [f"{stage}_{i}" for stage in range(1, 6) for i in range(1, 4) if stage > 2 or i < 3]
VGG16 = {f"features.{i}": name for i, name in zip(PLACES_VGG, NAMES_VGG, strict=True)}
HEADS = {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}
CONVS = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
PLACES = dict(zip(CONVS, (0, 3, 6, 8, 11, 13, 16, 18), strict=True))
NARROW = {"width": 1 / 16, "size_px": 32}


def vgg(seed: int, **options: Any) -> VGG:
    torch.manual_seed(seed)
    return VGG(**(NARROW | options))


def c3d(seed: int, **options: Any) -> C3D:
    torch.manual_seed(seed)
    return C3D(**(NARROW | options))


def resnet(seed: int, **options: Any) -> ResNet:
    torch.manual_seed(seed)
    model = ResNet(**({"width": 1 / 16} | options))
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2)
    return model


def as_vgg_face(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    layers = {ours: f"{prefix}{place}" for ours, place in VGG16.items()} | HEADS
    return renamed(state, layers)


def renamed(state: dict[str, Tensor], layers: dict[str, str]) -> dict[str, Tensor]:
    parts = {key: key.rpartition(".") for key in state}
    return {f"{layers[layer]}.{kind}": state[key] for key, (layer, _, kind) in parts.items()}


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def same(module: nn.Module, state: dict[str, Tensor], but: tuple[str, ...] = ()) -> None:
    """Assert that the module has these values."""
    for key, value in module.state_dict().items():
        if key not in but:
            torch.testing.assert_close(value, state[key], rtol=0, atol=0, msg=key)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RecipeError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    return message


def refused(module: nn.Module, path: Path, **options: Any) -> str:
    """Message of the error; asserts that the module is unchanged."""
    before = {key: value.clone() for key, value in module.state_dict().items()}
    message = refusal(lambda: load_checkpoint(module, path, **options))
    same(module, before)
    assert message.startswith(f"{path}: ")
    return message


def as_they_are(state: dict[str, Tensor]) -> Any:
    return state


def wrapped(state: dict[str, Tensor]) -> Any:
    return {"epoch": 90, "arch": "resnet", "best": 0.7, "state_dict": state}


def parallel(state: dict[str, Tensor]) -> Any:
    return wrapped({f"module.{key}": value for key, value in state.items()})


def before_counters(state: dict[str, Tensor]) -> Any:
    return {key: value for key, value in state.items() if "num_batches" not in key}


@pytest.mark.parametrize("form", [as_they_are, wrapped, parallel, before_counters])
@pytest.mark.parametrize("depth", [18, 50])
def test_imagenet_weights_of_resnet_are_loaded(
    depth: int, form: Callable[[dict[str, Tensor]], Any], tmp_path: Path
) -> None:
    theirs = resnet(0, depth=depth, num_classes=10).state_dict()
    model = resnet(1, depth=depth, num_classes=10)
    loaded = load_checkpoint(model, saved(form(theirs), tmp_path / "resnet.pth"))
    same(model, theirs)
    assert (loaded.fresh, loaded.unused) == ((), ())
    assert str(loaded) == f"{tmp_path / 'resnet.pth'}: {len(loaded.filled)} tensors loaded"


def test_a_last_layer_with_other_classes_is_not_loaded_and_is_listed(tmp_path: Path) -> None:
    path = saved(vgg(0, num_classes=10).state_dict(), tmp_path / "vgg.pth")
    model = vgg(1, num_classes=7)
    last = {key: value.clone() for key, value in model.state_dict().items() if ".6." in key}
    loaded = load_checkpoint(model, path)
    same(model, torch.load(path) | last)
    assert loaded.fresh == ("classifier.6.weight", "classifier.6.bias")
    assert len(loaded.filled) == 30
    assert "not loaded, as the classes differ: classifier.6.weight, classifier.6.bias" in str(
        loaded
    )


def test_a_file_without_the_last_layer_is_loaded(tmp_path: Path) -> None:
    theirs = c3d(0).state_dict()
    headless = {key: value for key, value in theirs.items() if not key.startswith("fc8")}
    model = c3d(1)
    loaded = load_checkpoint(model, saved(headless, tmp_path / "c3d.pth"))
    same(model, theirs, but=loaded.fresh)
    assert loaded.fresh == ("fc8.weight", "fc8.bias")


@pytest.mark.parametrize("prefix", ["conv_", "conv"])
def test_both_naming_schemes_of_vgg_face_are_loaded(prefix: str, tmp_path: Path) -> None:
    theirs = vgg(0).state_dict()
    model = vgg(1)
    load_checkpoint(model, saved(as_vgg_face(theirs, prefix), tmp_path / "vgg_face.pth"))
    same(model, theirs)


@pytest.mark.parametrize("sequential", [False, True])
def test_both_naming_schemes_of_sports_1m_are_loaded(sequential: bool, tmp_path: Path) -> None:
    theirs = c3d(0, num_classes=9).state_dict()
    layers = {name: f"features.{i}" if sequential else name for name, i in PLACES.items()}
    heads = HEADS if sequential else dict(zip(HEADS.values(), HEADS.values(), strict=True))
    layers |= {ours: name for name, ours in heads.items()}
    model = c3d(1, num_classes=9)
    load_checkpoint(model, saved(renamed(theirs, layers), tmp_path / "c3d.pickle"))
    same(model, theirs)


def test_old_files_and_half_precision_are_read(tmp_path: Path) -> None:
    theirs = {key: value.half() for key, value in c3d(0).state_dict().items()}
    model = c3d(1)
    old = saved(theirs, tmp_path / "c3d.pickle", _use_new_zipfile_serialization=False)
    load_checkpoint(model, old)
    same(model, {key: value.float() for key, value in theirs.items()})


def true_size(build: Callable[..., nn.Module], **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """A network without weights, and tensors of its shapes that need no memory."""
    with torch.device("meta"):
        model = build(**options)
    state = model.state_dict()
    return model, {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}


@pytest.mark.parametrize("name", ["vgg16", "vgg16-bilstm"])
def test_vgg_face_is_loaded_into_both_networks(name: str, tmp_path: Path) -> None:
    _, theirs = true_size(VGG, num_classes=2622)
    path = saved(as_vgg_face(theirs, "conv_"), tmp_path / "vgg_face.pth")
    with torch.device("meta"):
        model = models.create(name, num_classes=7)
    loaded = load_checkpoint(model, path)
    if name == "vgg16":
        assert (len(loaded.filled), len(loaded.fresh), len(loaded.unused)) == (30, 2, 0)
    else:
        assert (len(loaded.filled), len(loaded.fresh)) == (28, 0)
        assert loaded.filled[0] == "trunk.features.0.weight"
        beyond = [f"classifier.{i}.{kind}" for i in (3, 6) for kind in ("bias", "weight")]
        assert list(loaded.unused) == beyond


@pytest.mark.parametrize(
    ("build", "theirs", "ours"),
    [
        (VGG, {"num_classes": 1000, "depth": 19}, {"depth": 19}),
        (VGG, {"num_classes": 1000, "batch_norm": True}, {"batch_norm": True}),
        (C3D, {"num_classes": 487}, {}),
        (ResNet, {}, {"num_classes": 7}),
    ],
)
def test_published_files_are_loaded_at_full_size(
    build: Any, theirs: dict[str, Any], ours: dict[str, Any], tmp_path: Path
) -> None:
    _, state = true_size(build, **theirs)
    model, _ = true_size(build, **ours)
    loaded = load_checkpoint(model, saved(state, tmp_path / "weights.pth"))
    assert len(loaded.filled) == len(state) - 2
    assert len(loaded.fresh) == 2


@pytest.mark.parametrize("features", ["fc6", "fc7"])
def test_the_trunk_of_a_recurrent_network_is_filled(features: str, tmp_path: Path) -> None:
    theirs = vgg(0, num_classes=10).state_dict()
    options = models.small("vgg16-bilstm") | {"features": features}
    model: Any = models.create("vgg16-bilstm", **options)
    before = model.lstm.weight_ih_l0.clone()
    loaded = load_checkpoint(model, saved(theirs, tmp_path / "vgg.pth"))
    same(model.trunk, theirs)
    torch.testing.assert_close(model.lstm.weight_ih_l0, before)
    assert ("classifier.3.weight" in loaded.unused) == (features == "fc6")
    assert "unused: classifier." in str(loaded)


def test_every_trunk_of_a_network_is_filled_or_none(tmp_path: Path) -> None:
    theirs = resnet(0, num_classes=10).state_dict()
    path = saved(theirs, tmp_path / "resnet18.pth")
    two = nn.ModuleDict({"one": resnet(1, num_classes=None), "two": resnet(2, num_classes=None)})
    loaded = load_checkpoint(two, path)
    for trunk in two.values():
        same(trunk, theirs)
    assert len(loaded.filled) == 2 * (len(theirs) - 2)
    assert loaded.unused == ("fc.bias", "fc.weight")
    two = nn.ModuleDict({"one": resnet(1), "two": resnet(2, channels_in=2)})
    assert "does not fit ResNet" in refused(two, path)


@pytest.mark.parametrize("channels", [1, 2])
def test_adapt_channels_sets_the_first_layer_to_the_mean(channels: int, tmp_path: Path) -> None:
    theirs = resnet(0).state_dict()
    path = saved(theirs, tmp_path / "resnet18.pth")
    model = resnet(1, channels_in=channels)
    message = refused(model, path)
    wrong = f"1 of the wrong shape (conv1.weight (4, 3, 7, 7), not (4, {channels}, 7, 7)). "
    assert message == (
        f"{path}: does not fit ResNet: {wrong}adapt_channels averages the file's first layer over "
        "its input channels."
    )
    loaded = load_checkpoint(model, path, adapt_channels=True)
    assert "conv1.weight" in loaded.filled
    mean = (theirs["conv1.weight"].sum(1) / 3)[:, None].repeat(1, channels, 1, 1)
    torch.testing.assert_close(model.conv1.weight.detach(), mean)
    same(model, theirs, but=("conv1.weight",))


def test_adapt_channels_changes_the_first_layer_only(tmp_path: Path) -> None:
    theirs = resnet(0).state_dict()
    theirs["layer1.0.conv1.weight"] = torch.zeros(4, 3, 3, 3)
    message = refused(resnet(1), saved(theirs, tmp_path / "r.pth"), adapt_channels=True)
    assert "1 of the wrong shape (layer1.0.conv1.weight (4, 3, 3, 3), not (4, 4, 3, 3))" in message


def test_a_file_of_another_network_is_refused_with_the_keys_that_do_not_fit(tmp_path: Path) -> None:
    path = saved(resnet(0).state_dict(), tmp_path / "resnet18.pth")
    message = refused(vgg(1), path)
    # fc8's two tensors are not missing: they may be absent.
    assert "does not fit VGG: 30 missing (features.0.weight, features.0.bias, features.2" in message
    assert ", ...); 122 unexpected (bn1.bias, bn1.num_batches_tracked, bn1.running_mean" in message
    assert message.endswith(" Give a file of the same kind, depth and size as the network.")


def test_another_depth_and_another_size_are_refused(tmp_path: Path) -> None:
    path = saved(vgg(0, depth=19).state_dict(), tmp_path / "vgg19.pth")
    assert ": 6 missing (features.17.weight, features.17.bias, " in refused(vgg(1), path)
    path = saved(vgg(0, size_px=64).state_dict(), tmp_path / "vgg16.pth")
    wrong = "1 of the wrong shape (classifier.0.weight (256, 128), not (256, 32))"
    assert wrong in refused(vgg(1), path)


def test_a_last_layer_with_other_inputs_is_refused(tmp_path: Path) -> None:
    theirs = c3d(0).state_dict() | {"fc8.weight": torch.zeros(7, 3)}
    message = refused(c3d(1), saved(theirs, tmp_path / "c3d.pth"))
    assert "1 of the wrong shape (fc8.weight (7, 3), not (7, 256))" in message


def test_a_layer_under_two_names_is_refused(tmp_path: Path) -> None:
    theirs = vgg(0).state_dict()
    theirs["conv1_1.weight"] = theirs["features.0.weight"]
    message = refused(vgg(1), saved(theirs, tmp_path / "twice.pth"))
    assert "contains 'conv1_1.weight' under two names" in message


def test_a_network_without_published_weights_is_refused(tmp_path: Path) -> None:
    reason = refused(models.create("face-gru"), tmp_path / "vgg.pth")
    assert "FaceGRU has no part with published weights" in reason


class Payload:
    """Object whose unpickling creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def pickled(content: Any, path: Path) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def in_old_format(content: Any, path: Path) -> Path:
    return saved(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [saved, in_old_format, pickled])
@pytest.mark.parametrize("suffix", [".pth", ".pickle", ".ckpt"])
def test_a_hostile_file_is_refused_and_nothing_in_it_is_run(
    write: Callable[[Any, Path], Path], suffix: str, tmp_path: Path
) -> None:
    target = tmp_path / "ran"
    content = c3d(0).state_dict() | {"fc8.bias": Payload(target)}
    path = write(content, tmp_path / f"hostile{suffix}")
    message = refused(c3d(1), path)
    assert "nothing in it was run" in message
    assert not target.exists()
    if write is pickled:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists(), "the payload works, where it is let"


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    message = refused(c3d(1), saved(c3d(0), tmp_path / "network.pth"))
    assert "contains more than tensors" in message
    assert "Save the network's state_dict() instead" in message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(share: float, zipped: bool, tmp_path: Path) -> None:
    state, path = c3d(0).state_dict(), tmp_path / "weights.pth"
    content = saved(state, path, _use_new_zipfile_serialization=zipped).read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "no checkpoint" in refused(c3d(1), path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "no state dict"),
        ([1, 2], "no state dict"),
        (torch.zeros(3), "no state dict"),
        ({"state_dict": {}}, "no state dict"),
        ({"epoch": 3, "model": 1.0}, "'epoch' is not a plain tensor with a name"),
        ({0: torch.zeros(3)}, "0 is not a plain tensor"),
        ({"a\nb" * 50: 1}, "is not a plain tensor with a name"),
        ({"conv1.weight": torch.zeros(3).to_sparse()}, "'conv1.weight' is not a plain tensor"),
        ({"conv1.weight": torch.zeros(3, device="meta")}, "'conv1.weight' is not a plain tensor"),
        ({"conv1.weight": torch.zeros(3) * 1j}, "'conv1.weight' is not a plain tensor"),
        ({"a\nb" * 50: torch.zeros(3)}, "1 unexpected ('a\\nba\\nb"),
        ({"": torch.zeros(3)}, "1 unexpected ("),
        ({"fc8.weight": torch.zeros(())}, "20 missing"),
    ],
)
def test_content_other_than_weights_is_refused(content: Any, reason: str, tmp_path: Path) -> None:
    message = refused(c3d(1), saved(content, tmp_path / "odd.pth"))
    assert reason in message
    assert len(message) < len(str(tmp_path)) + 400


def test_a_path_that_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(c3d(1), tmp_path / "absent.pth")
    assert "not a file" in refused(c3d(1), tmp_path)
    text = tmp_path / "page.pth"
    text.write_text("<!DOCTYPE html><title>404</title>")
    assert "is no checkpoint" in refused(c3d(1), text)


def test_safetensors_are_read_by_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, path = c3d(0).state_dict(), tmp_path / "c3d.safetensors"
    path.touch()
    package = types.ModuleType("safetensors.torch")
    package.load_file = lambda file: theirs if file == path else {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "safetensors", types.ModuleType("safetensors"))
    monkeypatch.setitem(sys.modules, "safetensors.torch", package)
    model = c3d(1)
    load_checkpoint(model, path)
    same(model, theirs)


def test_safetensors_without_the_package_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    path = tmp_path / "c3d.safetensors"
    path.touch()
    assert refused(c3d(1), path).endswith("pip install safetensors")
