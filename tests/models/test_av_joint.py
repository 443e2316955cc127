"""av-joint: one network for face video and audio."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emoscope import models
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import SpecError
from emoscope.media.clip_stream import ClipStream
from emoscope.media.sound.logmel import FLOOR_DB

STREAMS = (("gray", "logmel"), ("gray",), ("logmel",))


def small(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return models.create("av-joint", 3, **{**models.small("av-joint"), **options}).eval()


def inputs_of(model: nn.Module, batch: int = 2) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = model.example_inputs(batch)
    return inputs


def spec_of(model: nn.Module) -> ClipSpec:
    spec = model.clip_spec
    assert isinstance(spec, ClipSpec)
    return spec


def silence_of(model: nn.Module, batch: int = 2) -> Tensor:
    """Normalised logmel of a clip without audio."""
    (sound,) = spec_of(model).audio_streams
    how = sound.normalisation  # type: ignore[union-attr]
    level = (FLOOR_DB - how.mean[0]) / how.std[0]
    return torch.full((batch, *spec_of(model).shapes()["logmel"]), level)


@pytest.mark.parametrize(
    ("streams", "parameters"), list(zip(STREAMS, (755_322, 686_794, 81_974), strict=True))
)
def test_it_has_fewer_than_a_million_parameters(streams: Any, parameters: int) -> None:
    model = models.create("av-joint", 6, streams=streams)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("streams", STREAMS)
def test_one_stream_alone_leaves_the_rest_of_the_network_unchanged(streams: Any) -> None:
    both, model = small(), small(streams=streams)
    assert tuple(spec_of(model).shapes()) == streams
    assert all(stream in spec_of(both).streams for stream in spec_of(model).streams)
    assert spec_of(model).window == spec_of(both).window
    own, whole = model.state_dict(), both.state_dict()
    assert {k: v.shape for k, v in own.items() if "weight_ih" not in k}.items() <= {
        k: v.shape for k, v in whole.items()
    }.items()
    assert model(**inputs_of(model)).shape == (2, 3)


def test_a_window_covers_the_same_time_of_frames_and_audio() -> None:
    spec = spec_of(models.create("av-joint"))
    assert spec.shapes() == {"gray": (25, 1, 48, 48), "logmel": (200, 64)}
    assert spec.rate_hz is not None
    (sound,) = spec.audio_streams
    assert spec.window.length_s == sound.length_s == spec.length / spec.rate_hz == 2.0  # type: ignore[union-attr]
    assert ClipStream.stride_of(spec) == 5


def test_a_silent_clip_is_classified_by_its_frames_alone() -> None:
    model, other = small(), small()
    nn.init.normal_(other.sound.project.bias)  # type: ignore[union-attr, arg-type]
    gray, silent = inputs_of(model)["gray"], silence_of(model)
    with torch.no_grad():
        torch.testing.assert_close(model(gray, silent), other(gray, silent), rtol=0, atol=0)
        silent[1, -1] += 1e-2  # a faint sound in the second clip
        same = torch.isclose(model(gray, silent), other(gray, silent), atol=1e-6).all(1)
    assert same.tolist() == [True, False]


def test_the_audio_of_some_training_clips_is_dropped() -> None:
    model = small(hide_sound=0.25).train()
    torch.manual_seed(0)
    loud = torch.ones(2000, 32, 16)
    assert float(model._audio_mask(loud).mean()) == pytest.approx(0.75, abs=0.05)  # type: ignore[operator]
    assert model.eval()._audio_mask(loud).all()  # type: ignore[operator]
    alone = small(hide_sound=0.25, streams=["logmel"]).train()
    assert alone._audio_mask(loud).all(), "it would have nothing left"  # type: ignore[operator]


def test_constant_features_of_a_face_have_no_effect() -> None:
    model = small()
    inputs = inputs_of(model)
    with torch.no_grad():
        still = {"gray": inputs["gray"][:, :1].expand(-1, 4, -1, -1, -1)}
        other = {"gray": inputs["gray"][:, 1:2].expand(-1, 4, -1, -1, -1)}
        one, two = (model(**one, logmel=inputs["logmel"]) for one in (still, other))
        moved = model(**inputs)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    assert not torch.allclose(one, moved, atol=1e-4)


def test_face_and_audio_features_are_joined_per_step() -> None:
    """Frames and audio are the same, but at other times of the clip."""
    model = small()
    inputs = inputs_of(model)
    with torch.no_grad():
        together, apart = (
            model(inputs["gray"], inputs["logmel"].roll(shift, 1)) for shift in (0, 8)
        )
    assert not torch.allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize("streams", [(), ("gray", "gray"), ("rgb",)])
def test_other_streams_are_refused(streams: Any) -> None:
    with pytest.raises(SpecError, match="streams must be one or more of gray, logmel, each once"):
        small(streams=streams)


def test_another_number_of_layers_is_refused() -> None:
    with pytest.raises(SpecError, match="sound_widths must be three"):
        small(sound_widths=(4, 4))
