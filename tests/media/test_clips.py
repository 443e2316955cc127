from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sounding import tone

from emoscope.core.clipspec import (
    CHANNELS,
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
)
from emoscope.core.errors import SpecError
from emoscope.media.clips import Clip, build_clip, finish, frames_needed, gather
from emoscope.media.motion import dynamic_image, optical_flow
from emoscope.media.sound.egemaps import egemaps
from emoscope.media.sound.logmel import log_mel

KINDS: tuple[StreamKind, ...] = tuple(CHANNELS)
MOTION: tuple[StreamKind, ...] = ("flow", "dynamic_rgb", "dynamic_flow")


def noise(count: int, height: int = 20, width: int = 30, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, size=(count, height, width, 3), dtype=np.uint8))


def flat(*levels: int, side: int = 8) -> list[npt.NDArray[np.uint8]]:
    """One uniform image per level."""
    return [np.full((side, side, 3), level, np.uint8) for level in levels]


def spec_of(
    *kinds: StreamKind,
    sampling: Sampling = Last(length=4),
    size_hw: tuple[int, int] = (8, 8),
    rate_hz: float | None = None,
    **normalisation: Any,
) -> ClipSpec:
    how = Normalisation(**normalisation)
    streams = tuple(Stream(kind=kind, size_hw=size_hw, normalisation=how) for kind in kinds)
    return ClipSpec(sampling=sampling, rate_hz=rate_hz, streams=streams)


def levels(built: dict[str, Any], stream: str = "gray") -> list[int]:
    """Levels of uniform frames as bytes."""
    return [round(float(frame.mean()) * 255) for frame in built[stream]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sampling",
    [Uniform(length=6), Last(length=3), Offsets(offsets=(-9, -1))],
    ids=lambda sampling: sampling.rule,
)
def test_shapes_are_those_of_the_spec(kind: StreamKind, sampling: Sampling) -> None:
    spec = spec_of(kind, sampling=sampling, size_hw=(24, 16))
    built = build_clip(Clip(noise(10)), spec)
    assert {name: array.shape for name, array in built.items()} == spec.shapes()
    assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in built.values())


def test_streams_of_a_clip_can_have_different_sizes() -> None:
    spec = ClipSpec(
        sampling=Last(length=3),
        streams=(
            Stream(kind="rgb", size_hw=(16, 12)),
            Stream(kind="dynamic_flow", size_hw=(24, 20)),
        ),
    )
    built = build_clip(Clip(noise(5)), spec)
    assert {name: array.shape for name, array in built.items()} == spec.shapes()


def test_frames_may_differ_in_size() -> None:
    frames = [*noise(1, 5, 40), *noise(1, 64, 48), *noise(1, 8, 8), *noise(1, 8, 30)]
    assert build_clip(Clip(frames), spec_of("rgb"))["rgb"].shape == (4, 3, 8, 8)


@pytest.mark.parametrize("shape", [(32, 32), (8, 32), (32, 8)])
def test_shrinking_averages_pixels(shape: tuple[int, int]) -> None:
    outer = [np.isin(np.arange(side) % 4, (0, 3)) for side in shape]
    fine = np.where(outer[0][:, None] ^ outer[1], np.uint8(255), np.uint8(0))
    frame = np.repeat(fine[..., None], 3, axis=2)  # half light, half dark in every 4 pixels
    small = build_clip(Clip([frame]), spec_of("gray", sampling=Last(length=1)))["gray"]
    np.testing.assert_allclose(small, 0.5, atol=0.01)


def test_images_are_channels_first_in_zero_to_one() -> None:
    frames = noise(4, 8, 8)
    built = build_clip(Clip(frames), spec_of("rgb"))["rgb"]
    np.testing.assert_allclose(built, np.stack(frames).transpose(0, 3, 1, 2) / 255, rtol=1e-6)


def test_gray_of_a_grey_image_is_unchanged() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frame = np.repeat(ramp[..., None], 3, axis=2)
    spec = spec_of("gray", sampling=Last(length=1), size_hw=(16, 16))
    np.testing.assert_array_equal(
        build_clip(Clip([frame]), spec)["gray"][0, 0], ramp.astype(np.float32) / np.float32(255)
    )


def test_gray_is_the_luma_of_colours() -> None:
    pure = [np.full((8, 8, 3), np.eye(3, dtype=np.uint8)[c] * 255, np.uint8) for c in range(3)]
    built = build_clip(Clip(pure), spec_of("gray", sampling=Last(length=3)))["gray"]
    np.testing.assert_allclose(built.mean((1, 2, 3)), [0.299, 0.587, 0.114], atol=2e-3)


def test_normalisation_by_hand() -> None:
    spec = spec_of("rgb", sampling=Last(length=1), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    built = build_clip(Clip(flat(51)), spec)["rgb"]  # 51 / 255 = 0.2
    np.testing.assert_allclose(built[0, :, 0, 0], [0.2, 0.0, -0.05], atol=1e-6)


def test_the_limit_is_applied_before_mean_and_std() -> None:
    plain = build_clip(Clip(noise(4, 32, 32)), spec_of("flow"))["flow"]
    cut = build_clip(Clip(noise(4, 32, 32)), spec_of("flow", limit=0.5, mean=(0.1,), std=(0.5,)))
    assert np.abs(plain).max() > 0.5
    np.testing.assert_allclose(cut["flow"], (plain.clip(-0.5, 0.5) - 0.1) / 0.5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_per_clip_gives_the_whole_stream_mean_0_and_variance_1(kind: StreamKind) -> None:
    built = build_clip(Clip(noise(4, 32, 32)), spec_of(kind, size_hw=(32, 32), per_clip=True))
    values = built[kind].astype(np.float64)
    assert values.mean() == pytest.approx(0, abs=1e-5)
    assert values.var() == pytest.approx(1, abs=1e-4)


def test_per_clip_keeps_differences_between_frames() -> None:
    built = build_clip(Clip(flat(0, 100)), spec_of("gray", sampling=Last(length=2), per_clip=True))
    np.testing.assert_allclose(built["gray"].mean((1, 2, 3)), [-1, 1], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_clip_becomes_zeros(kind: StreamKind) -> None:
    spec = spec_of(kind, size_hw=(112, 112), per_clip=True)
    built = build_clip(Clip(flat(*[173] * 4, side=112)), spec)[kind]
    np.testing.assert_allclose(built, 0, atol=1e-5)


def test_uniformly_rising_brightness_becomes_zeros() -> None:
    """The dynamic image is one large value; its float32 deviation is a rounding error, not 0."""
    spec = spec_of("dynamic_rgb", sampling=Last(length=30), size_hw=(112, 112), per_clip=True)
    built = build_clip(Clip(flat(*range(3, 213, 7), side=112)), spec)["dynamic_rgb"]
    np.testing.assert_allclose(built, 0, atol=1e-3)


def test_flow_repeats_its_first_field() -> None:
    frames = noise(4, 16, 16)
    built = build_clip(Clip(frames), spec_of("flow", size_hw=(16, 16)))["flow"]
    flow = optical_flow(np.stack(frames)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(built[1:], flow)
    np.testing.assert_array_equal(built[0], flow[0])


def test_dynamic_images_pool_the_other_streams() -> None:
    frames = noise(4, 16, 16)
    built = build_clip(Clip(frames), spec_of("rgb", "flow", *MOTION[1:], size_hw=(16, 16)))
    for whole, pooled in (("rgb", "dynamic_rgb"), ("flow", "dynamic_flow")):
        expected = dynamic_image(built[whole].transpose(0, 2, 3, 1)).transpose(2, 0, 1)
        np.testing.assert_allclose(built[pooled][0], expected, rtol=1e-4, atol=1e-4)


def test_frames_are_selected_by_the_sampling_rule() -> None:
    clip = Clip(flat(*range(0, 200, 10)))
    assert levels(build_clip(clip, spec_of("gray"))) == [160, 170, 180, 190]
    offsets = spec_of("gray", sampling=Offsets(offsets=(-15, -1)))
    assert levels(build_clip(clip, offsets)) == [50, 190]


def test_jitter_needs_a_generator() -> None:
    clip = Clip(flat(*range(200)))
    spec = spec_of("gray", sampling=Uniform(length=8, jitter=True))
    middle = levels(build_clip(clip, spec))
    assert middle == [12, 37, 62, 87, 112, 137, 162, 187]
    drawn = levels(build_clip(clip, spec, np.random.default_rng(1)))
    assert drawn != middle
    assert [level // 25 for level in drawn] == list(range(8))


def test_jitter_is_the_same_for_all_streams() -> None:
    clip = Clip(flat(*range(200)))
    spec = spec_of("gray", "rgb", sampling=Uniform(length=8, jitter=True))
    built = build_clip(clip, spec, np.random.default_rng(1))
    assert levels(built, "gray") == levels(built, "rgb")


def test_frames_are_resampled_to_the_rate_first() -> None:
    clip = Clip(flat(*range(0, 120, 10)), times_s=[i / 30 for i in range(12)])
    assert levels(build_clip(clip, spec_of("gray", rate_hz=10.0))) == [0, 30, 60, 90]


def test_a_long_frame_of_a_variable_rate_is_repeated() -> None:
    clip = Clip(flat(10, 20, 30), times_s=[0.0, 0.1, 0.4])
    spec = spec_of("gray", sampling=Last(length=5), rate_hz=10.0)
    assert levels(build_clip(clip, spec)) == [10, 20, 20, 20, 30]


def test_a_rate_requires_times() -> None:
    with pytest.raises(SpecError, match="samples at 10 Hz: set the clip's times_s"):
        build_clip(Clip(noise(4)), spec_of("gray", rate_hz=10.0))


@pytest.mark.parametrize(
    ("frames", "times_s", "reason"),
    [
        ([], (), "at least one frame or audio"),
        ([np.zeros((8, 8), np.uint8)], (), r"got \(8, 8\) uint8"),
        ([np.zeros((8, 8, 4), np.uint8)], (), r"got \(8, 8, 4\) uint8"),
        ([np.zeros((0, 8, 3), np.uint8)], (), r"got \(0, 8, 3\) uint8"),
        ([np.zeros((8, 8, 3), np.float32)], (), r"got \(8, 8, 3\) float32"),
        ([*noise(1), np.zeros((8, 8, 3))], (), r"\) float64"),
        (noise(3), (0.0, 0.1), "one entry per frame: 3, got 2"),
        (noise(3), (0.0, 0.2, 0.1), "do not decrease"),
        (noise(2), (0.0, float("nan")), "do not decrease"),
    ],
)
def test_an_invalid_clip_is_refused(frames: list[Any], times_s: Any, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        Clip(frames, times_s)


@pytest.mark.parametrize(
    ("sampling", "needed"),
    [
        (Uniform(length=6), 6),
        (Last(length=3), 3),
        (Offsets(offsets=(-15, -1)), 15),
        (Offsets(offsets=(0, 4)), 5),
        (Offsets(offsets=(-3, 6)), 7),
    ],
    ids=str,
)
def test_no_frame_is_repeated_with_frames_needed(sampling: Sampling, needed: int) -> None:
    spec = spec_of("gray", sampling=sampling)
    assert frames_needed(spec) == needed
    assert len(set(levels(build_clip(Clip(flat(*range(needed))), spec)))) == sampling.length


# Sound


VOICE = ClipSpec(streams=(Vector(kind="egemaps"),), rate_hz=10.0)


def test_egemaps_are_computed_from_the_audio() -> None:
    sound = tone(220, 0.3, 22_050)
    built = build_clip(Clip([], audio=sound, sample_rate_hz=22_050), VOICE)
    assert {name: array.shape for name, array in built.items()} == VOICE.shapes()
    np.testing.assert_array_equal(built["egemaps"], egemaps(sound, 22_050))


def test_egemaps_are_nan_without_audio() -> None:
    built = build_clip(Clip(noise(3)), VOICE)["egemaps"]
    assert (built.shape, built.dtype) == ((88,), np.float32)
    assert np.isnan(built).all()


def test_a_clip_can_have_image_and_audio_streams() -> None:
    spec = ClipSpec(
        sampling=Last(length=2),
        streams=(Stream(kind="gray", size_hw=(8, 8)), Vector(kind="egemaps")),
    )
    clip = Clip(flat(0, 50, 100), audio=tone(220, 0.3))
    built = build_clip(clip, spec)
    assert levels(built) == [50, 100]
    np.testing.assert_array_equal(built["egemaps"], egemaps(tone(220, 0.3), 16_000))
    material = gather(clip, spec, np.array([2]))
    np.testing.assert_array_equal(material.take(np.array([0])).vectors["egemaps"], built["egemaps"])


def test_a_spec_of_frames_refuses_a_clip_of_audio_alone() -> None:
    with pytest.raises(SpecError, match="needs frames, and the clip has none"):
        build_clip(Clip([], audio=tone(220, 0.3)), spec_of("gray"))


@pytest.mark.parametrize("audio", [np.zeros((2, 800), np.float32), np.zeros(800)])
def test_audio_must_be_mono_float32(audio: Any) -> None:
    with pytest.raises(SpecError, match=r"Audio must be \(N,\) float32, got "):
        Clip([], audio=audio)


# Log-mel energies


def heard_beside(**settings: Any) -> ClipSpec:
    gray = Stream(kind="gray", size_hw=(8, 8))
    return ClipSpec(
        region="frame", sampling=Last(length=2), streams=(gray, LogMel(length_s=0.3, **settings))
    )


def test_logmel_is_computed_from_the_audio_and_normalised() -> None:
    spec = heard_beside(mels=20, normalisation=Normalisation(mean=(-60.0,), std=(20.0,)))
    built = build_clip(Clip(flat(0, 50), audio=tone(440, 0.3)), spec)
    expected = (log_mel(tone(440, 0.3), 16_000, 30, 20) + 60) / 20
    assert {name: array.shape for name, array in built.items()} == spec.shapes()
    np.testing.assert_allclose(built["logmel"], expected, atol=1e-6)
    assert built["logmel"].dtype == np.float32
    assert built["logmel"].flags.c_contiguous


@pytest.mark.parametrize("audio", [None, np.zeros(4800, np.float32)], ids=["no sound", "silence"])
def test_logmel_is_the_floor_without_audio(audio: Any) -> None:
    spec = heard_beside(normalisation=Normalisation(mean=(-60.0,), std=(20.0,)))
    built = build_clip(Clip(flat(0, 50), audio=audio), spec)
    assert (built["logmel"] == -2).all()
    assert levels(built) == [0, 50]


def test_taking_frames_keeps_the_audio_streams() -> None:
    spec = heard_beside()
    material = gather(Clip(flat(0, 50, 100), audio=tone(220, 0.3)), spec, np.arange(3))
    taken = finish(material.take(np.array([2, 2])), spec)
    assert levels(taken) == [100, 100]
    np.testing.assert_array_equal(taken["logmel"], material.vectors["logmel"])
