import json
from typing import Any

import pytest
from pydantic import ValidationError

from emoscope.core.clipspec import (
    ClipSpec,
    Last,
    LogMel,
    Normalisation,
    Offsets,
    Sampling,
    Stream,
    StreamKind,
    Uniform,
    Vector,
    Window,
)
from emoscope.core.errors import SpecError


def make_spec(sampling: Sampling, *kinds: StreamKind, **settings: Any) -> ClipSpec:
    streams = tuple(Stream(kind=kind, size_hw=(24, 32)) for kind in kinds)
    return ClipSpec(sampling=sampling, streams=streams, **settings)


@pytest.mark.parametrize(
    "sampling",
    [Uniform(length=16, jitter=True), Last(length=10), Offsets(offsets=(-15, -1))],
    ids=lambda sampling: sampling.rule,
)
def test_a_spec_survives_json(sampling: Sampling) -> None:
    spec = ClipSpec(
        region="body",
        margin=0.25,
        align=True,
        sampling=sampling,
        rate_hz=12.5,
        window=Window(length_s=2.0, stride_s=0.25),
        streams=(
            Stream(
                kind="rgb",
                size_hw=(112, 96),
                normalisation=Normalisation(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
            ),
            Stream(
                kind="flow",
                size_hw=(56, 48),
                normalisation=Normalisation(limit=20.0, std=(20.0,), per_clip=True),
            ),
        ),
    )
    assert ClipSpec.from_json(spec.model_dump_json()) == spec


def test_shapes_hold_one_frame_for_dynamic_images_and_all_frames_otherwise() -> None:
    kinds: tuple[StreamKind, ...] = ("rgb", "gray", "flow", "dynamic_rgb", "dynamic_flow")
    assert make_spec(Last(length=5), *kinds).shapes() == {
        "rgb": (5, 3, 24, 32),
        "gray": (5, 1, 24, 32),
        "flow": (5, 2, 24, 32),
        "dynamic_rgb": (1, 3, 24, 32),
        "dynamic_flow": (1, 2, 24, 32),
    }


def test_a_spec_of_sound_alone_survives_json_and_has_no_frames() -> None:
    spec = ClipSpec(window=Window(length_s=3.0, stride_s=1.0), streams=(Vector(kind="egemaps"),))
    assert ClipSpec.from_json(spec.model_dump_json()) == spec
    assert spec.shapes() == {"egemaps": (88,)}
    assert (spec.length, spec.is_image, spec.pictures) == (0, False, ())


def test_logmel_is_rows_of_bands_and_survives_json() -> None:
    sound = LogMel(length_s=1.5, mels=40, normalisation=Normalisation(mean=(-60.0,), std=(20.0,)))
    spec = ClipSpec(streams=(sound,))
    assert ClipSpec.from_json(spec.model_dump_json()) == spec
    assert spec.shapes() == {"logmel": (150, 40)}
    assert (spec.audio_streams, spec.frame_streams, spec.vectors, spec.pictures) == (
        (sound,),
        (),
        (),
        (),
    )


def test_a_spec_with_audio_is_not_an_image_spec() -> None:
    gray = Stream(kind="gray", size_hw=(8, 8))
    spec = ClipSpec(sampling=Last(length=1), streams=(gray, LogMel(length_s=0.5)))
    assert not spec.is_image
    assert spec.shapes() == {"gray": (1, 1, 8, 8), "logmel": (50, 64)}
    assert (spec.frame_streams, spec.pictures) == ((gray,), (gray,))


@pytest.mark.parametrize(
    "settings", [{"mels": 0}, {"mels": 129}, {"length_s": 0.001}, {"size_hw": (8, 8)}]
)
def test_invalid_logmel_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LogMel(**settings)
    with pytest.raises(ValidationError, match="one mean and one std"):
        LogMel(normalisation=Normalisation(mean=(0.0, 1.0)))


def test_image_and_vector_streams_are_separated() -> None:
    gray, sound = Stream(kind="gray", size_hw=(8, 8)), Vector(kind="egemaps")
    spec = ClipSpec(sampling=Last(length=2), streams=(sound, gray))
    assert ClipSpec.from_json(spec.model_dump_json()) == spec
    assert (spec.pictures, spec.vectors) == ((gray,), (sound,))
    assert spec.shapes() == {"egemaps": (88,), "gray": (2, 1, 8, 8)}


@pytest.mark.parametrize(
    ("sampling", "stream"),
    [(Last(length=2), Vector(kind="egemaps")), (None, Stream(kind="gray", size_hw=(8, 8)))],
    ids=["sampled sound", "pictures not sampled"],
)
def test_pictures_are_sampled_and_vectors_are_not(
    sampling: Sampling | None, stream: Stream | Vector
) -> None:
    with pytest.raises(ValidationError, match="sampling is required if, and only if"):
        ClipSpec(sampling=sampling, streams=(stream,))


def test_the_length_of_offsets_is_how_many_there_are() -> None:
    assert make_spec(Offsets(offsets=(-15, -1)), "rgb").shapes()["rgb"][0] == 2


def test_an_image_model_looks_at_one_frame() -> None:
    assert make_spec(Last(length=1), "gray").is_image
    assert make_spec(Offsets(offsets=(-1,)), "gray").is_image
    assert not make_spec(Last(length=2), "gray").is_image


@pytest.mark.parametrize("field", ["colour", "sampling.start", "streams.0.mean"])
def test_an_unknown_field_is_refused_by_its_name(field: str) -> None:
    settings = json.loads(make_spec(Last(length=2), "rgb").model_dump_json())
    place: Any = settings
    *path, last = field.split(".")
    for part in path:
        place = place[int(part) if part.isdigit() else part]
    place[last] = 1
    with pytest.raises(SpecError, match=rf"{last}: Extra inputs are not permitted \(got 1\)"):
        ClipSpec.from_json(json.dumps(settings))


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", '{"sampling": {"rule": "first"}, "streams": []}']
)
def test_invalid_json_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SpecError) as raised:
        ClipSpec.from_json(text)
    assert str(raised.value).startswith("Invalid ClipSpec: ")
    assert "\n" not in str(raised.value)


def test_a_long_wrong_value_is_shortened_in_the_message() -> None:
    settings = json.loads(make_spec(Last(length=2), "rgb").model_dump_json())
    settings["region"] = "face" * 1000
    with pytest.raises(SpecError, match="region: ") as raised:
        ClipSpec.from_json(json.dumps(settings))
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"window": {"length_s": 1.0, "stride_s": 1.5}}, r"stride_s must be in \(0, 1.0\]"),
        ({"window": {"length_s": float("inf")}}, "finite"),
        ({"rate_hz": 0.0}, "greater than 0"),
        ({"rate_hz": float("inf")}, "finite"),
        ({"margin": -0.5}, "-0.25"),
        ({"sampling": {"rule": "last", "length": 0}}, "greater than or equal to 1"),
        ({"sampling": {"rule": "offsets", "offsets": []}}, "at least 1"),
        ({"streams": []}, "at least 1"),
        ({"streams": [{"kind": "rgb", "size_hw": (0, 8)}]}, "size_hw must be positive"),
        ({"streams": [{"kind": "rgb", "size_hw": (8, 8)}] * 2}, "may occur once"),
        ({"streams": [{"kind": "flow", "size_hw": (8, 8)}], "sampling": Last(length=1)}, "motion"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    fair: dict[str, Any] = {
        "sampling": Last(length=2),
        "streams": [{"kind": "rgb", "size_hw": (8, 8)}],
    }
    assert ClipSpec(**fair)
    with pytest.raises(ValidationError, match=reason):
        ClipSpec(**(fair | settings))


@pytest.mark.parametrize(
    ("normalisation", "reason"),
    [
        ({"std": (0.0,)}, "std must be positive"),
        ({"std": (1.0, -1.0, 1.0)}, "std must be positive"),
        ({"std": ()}, "at least 1"),
        ({"std": (float("nan"),)}, "finite"),
        ({"mean": (0.5, 0.5)}, "rgb has 3 channels, mean has 2 values"),
        ({"limit": 0.0}, "greater than 0"),
        ({"limit": float("inf")}, "finite"),
    ],
)
def test_an_invalid_normalisation_is_refused(normalisation: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Stream.model_validate({"kind": "rgb", "size_hw": (8, 8), "normalisation": normalisation})


def test_a_spec_cannot_be_changed() -> None:
    spec = make_spec(Last(length=2), "rgb")
    with pytest.raises(ValidationError, match="frozen"):
        spec.margin = 0.5  # type: ignore[misc]
