"""Contract of all networks in the registry."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from emoscope import models
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import SpecError, UnknownName

CLASSES = 5


def small(name: str, **options: Any) -> models.Network:
    torch.manual_seed(0)
    return models.create(name, num_classes=CLASSES, **(models.small(name) | options))


def stirred(model: models.Network) -> models.Network:
    """The model in eval mode, with batch normalisation statistics of its inputs."""
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(**model.example_inputs(batch=4))
    return model.eval()


everywhere = pytest.mark.parametrize("name", models.names())


@everywhere
def test_logits_are_one_finite_row_per_clip(name: str) -> None:
    model = small(name)
    for train in (True, False):
        logits = model.train(train)(**model.example_inputs(batch=3))
        assert logits.shape == (3, CLASSES)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


@everywhere
def test_example_inputs_match_the_clip_spec(name: str) -> None:
    model = small(name)
    assert isinstance(model.clip_spec, ClipSpec)
    inputs = model.example_inputs(batch=3)
    shapes = {stream: tuple(tensor.shape) for stream, tensor in inputs.items()}
    assert shapes == {k: (3, *shape) for k, shape in model.clip_spec.shapes().items()}
    assert all(tensor.dtype == torch.float32 for tensor in inputs.values())
    for stream, tensor in model.example_inputs(batch=3).items():
        torch.testing.assert_close(tensor, inputs[stream], rtol=0, atol=0)


@everywhere
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = small(name).train()
    model(**model.example_inputs(batch=4)).square().sum().backward()
    without = [
        key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert without == []


@everywhere
def test_every_input_reaches_the_logits(name: str) -> None:
    model = stirred(small(name))
    inputs = {k: v.requires_grad_() for k, v in model.example_inputs().items()}
    model(**inputs).square().sum().backward()
    for stream, tensor in inputs.items():
        assert tensor.grad is not None, stream
        per_frame = tensor.grad.abs().transpose(0, 1).flatten(1).sum(1)  # or per row of sound
        assert (per_frame > 0).all(), stream


@everywhere
def test_clips_in_a_batch_do_not_mix(name: str) -> None:
    model = stirred(small(name))
    pair = model.example_inputs(batch=2)
    with torch.no_grad():
        alone = [model(**{k: v[i : i + 1] for k, v in pair.items()}) for i in range(2)]
        torch.testing.assert_close(model(**pair), torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(alone[0], alone[1], atol=1e-6)


@everywhere
def test_eval_mode_is_deterministic(name: str) -> None:
    model = stirred(small(name))
    inputs = model.example_inputs()
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs), model(**inputs), rtol=0, atol=0)


@everywhere
def test_a_state_dict_carries_the_whole_network(name: str) -> None:
    model = stirred(small(name))
    torch.manual_seed(1)
    twin = models.create(name, num_classes=CLASSES, **models.small(name)).eval()
    inputs = model.example_inputs()
    with torch.no_grad():
        assert not torch.allclose(model(**inputs), twin(**inputs), atol=1e-6)
        twin.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(**inputs), twin(**inputs), rtol=0, atol=0)


@everywhere
def test_small_options_are_a_copy(name: str) -> None:
    models.small(name)["num_classes"] = 99
    assert "num_classes" not in models.small(name)


def test_an_unknown_network_is_suggested() -> None:
    with pytest.raises(UnknownName, match=r"No model named 'face-cn'\. Did you mean 'face-cnn'"):
        models.create("face-cn")
    with pytest.raises(UnknownName, match="Did you mean 'face-cnn'"):
        models.small("face_cnn")


@everywhere
def test_every_network_has_the_common_base(name: str) -> None:
    assert isinstance(small(name), models.Network)


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SpecError, match=r"c3d has no option 'widht'\. Did you mean 'width'\?"):
        models.create("c3d", widht=0.5)
    with pytest.raises(SpecError, match=r"c3d has no option 'zzz'\. Known: num_classes, "):
        models.create("c3d", zzz=1)


def test_options_of_a_builder_that_takes_any_are_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def build(**options: Any) -> models.Network:
        given.update(options)
        return models.create("c3d", **models.small("c3d"))

    names = models.names()  # entries are all loaded: the next one does not stay
    monkeypatch.setitem(models.MODELS._entries, "any", models.ModelEntry(build))
    models.create("any", 3, depth=4)
    assert given == {"num_classes": 3, "depth": 4}
    assert "any" not in names


def test_importing_the_room_imports_no_family() -> None:
    code = (
        "import sys, emoscope.models\n"
        "families = {m for m in sys.modules if m.startswith('emoscope.models.')}\n"
        "assert families == {'emoscope.models.network', 'emoscope.models.registry'}\n"
        "assert 'face-cnn' in emoscope.models.names()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
