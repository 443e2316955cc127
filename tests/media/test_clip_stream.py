"""ClipStream: every window equals `build_clip` of its frames."""

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    Window,
)
from emoscope.core.errors import SpecError
from emoscope.media import clip_stream, motion
from emoscope.media.clip_stream import ClipStream
from emoscope.media.clips import Clip, build_clip

KINDS: tuple[StreamKind, ...] = tuple(CHANNELS)
RATE_HZ = 8.0


def spec_of(
    *kinds: StreamKind,
    length: int = 4,
    stride: int = 1,
    side: int = 16,
    sampling: Sampling | None = None,
    **normalisation: Any,
) -> ClipSpec:
    """Normalisation for the larger values of flow and dynamic images."""
    how = Normalisation(**normalisation)
    large = ("dynamic_rgb", "dynamic_flow")
    return ClipSpec(
        sampling=sampling or Last(length=length),
        rate_hz=RATE_HZ,
        window=Window(length_s=length / RATE_HZ, stride_s=stride / RATE_HZ),
        streams=tuple(
            Stream(
                kind=kind,
                size_hw=(side + 8, side) if kind in large else (side, side + 2),
                normalisation=how,
            )
            for kind in kinds
        ),
    )


def faces(count: int, seed: int = 0, side: int = 24) -> list[np.ndarray]:
    """A textured image that drifts, flickers and at times stands still."""
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, 256, (side + 40, side + 40, 3)).astype(np.uint8)
    frames = []
    x = y = 0
    for _ in range(count):
        if rng.random() < 0.7:
            x, y = rng.integers(0, 40, 2)
        frames.append(wide[y : y + side, x : x + side])
    return frames


def assert_slides(frames: list[np.ndarray], spec: ClipSpec) -> int:
    """Assert that every window is due and equals `build_clip`; return their number."""
    stream, count = ClipStream(spec), 0
    stride = round(spec.window.stride_s * RATE_HZ)
    for i, frame in enumerate(frames):
        result, start = stream.push(frame), i + 1 - spec.length
        assert (result is not None) == (start >= 0 and start % stride == 0)
        if result is not None:
            assert_same(result, built(frames[start : i + 1], spec))
            count += 1
    return count


def built(frames: list[np.ndarray], spec: ClipSpec) -> dict[str, Any]:
    return build_clip(Clip(frames, [i / RATE_HZ for i in range(len(frames))]), spec)


def assert_same(result: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(result) == list(expected)
    for name, values in expected.items():
        assert result[name].dtype == values.dtype == np.float32
        assert result[name].flags.c_contiguous
        np.testing.assert_allclose(result[name], values, rtol=1e-6, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "normalisation",
    [{}, {"mean": (0.3,), "std": (0.2,)}, {"limit": 0.4}, {"per_clip": True}],
    ids=str,
)
@pytest.mark.parametrize(("length", "stride"), [(2, 1), (2, 2), (4, 1), (5, 2), (6, 6), (16, 4)])
def test_every_window_equals_build_clip(
    length: int, stride: int, normalisation: dict[str, Any]
) -> None:
    spec = spec_of(*KINDS, length=length, stride=stride, **normalisation)
    assert assert_slides(faces(20), spec) == (20 - length) // stride + 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    st.integers(2, 7),
    st.data(),
    st.lists(st.integers(0, 3), min_size=2, max_size=20),
)
def test_windows_equal_build_clip_for_any_streams_and_repeated_frames(
    kinds: list[StreamKind], length: int, data: st.DataObject, order: list[int]
) -> None:
    stride = data.draw(st.integers(1, length))
    frames = faces(4, seed=3)
    per_clip, limit = data.draw(st.booleans()), data.draw(st.sampled_from([None, 0.5]))
    spec = spec_of(*kinds, length=length, stride=stride, per_clip=per_clip, limit=limit)
    assert_slides([frames[i] for i in order], spec)


def test_uniform_sampling_of_all_frames_of_a_window_is_supported() -> None:
    spec = spec_of("gray", "flow", sampling=Uniform(length=4, jitter=True))
    assert assert_slides(faces(8), spec) == 5


def test_errors_do_not_accumulate_over_a_thousand_frames() -> None:
    spec, frames = spec_of("dynamic_rgb", "dynamic_flow", side=8), faces(1010, side=8)
    stream = ClipStream(spec)
    for frame in frames:
        result = stream.push(frame)
    assert result is not None
    assert_same(result, built(frames[-4:], spec))


def test_after_all_motion_a_still_window_is_exactly_zero() -> None:
    """Floating-point sums would keep the rounding errors of large flow."""
    spec, moving = spec_of("dynamic_rgb", "flow", "dynamic_flow"), faces(30)
    stream = ClipStream(spec)
    for frame in [*moving, *[moving[0]] * 4]:
        result = stream.push(frame)
    assert result is not None
    assert all(np.all(values == 0) for values in result.values())


def test_each_frame_is_resized_once_and_each_flow_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = {"resized": 0, "_farneback": 0}

    def counting(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any) -> Any:
            calls[name] += 1
            return real(*args)

        monkeypatch.setattr(module, name, call)

    counting(clip_stream, "resized")
    counting(motion, "_farneback")
    stream = ClipStream(spec_of(*KINDS, length=6, stride=2))  # two sizes, flow in both
    for frame in faces(20):
        stream.push(frame)
    assert calls == {"resized": 2 * 20, "_farneback": 2 * 19}


def test_a_returned_window_is_not_changed_by_later_frames() -> None:
    spec, frames = spec_of(*KINDS), faces(9)
    stream = ClipStream(spec)
    given = [stream.push(frame) for frame in frames]
    for i, result in enumerate(given):
        if result is not None:
            assert_same(result, built(frames[i - 3 : i + 1], spec))


@pytest.mark.parametrize("size_hw", [(24, 26), (32, 24)], ids=["of flow", "of dynamic_rgb"])
def test_a_caller_may_reuse_the_array_of_a_frame(size_hw: tuple[int, int]) -> None:
    spec = spec_of("flow", "dynamic_rgb", side=24)
    assert size_hw in spec.sizes
    frames = [frame[: size_hw[0], : size_hw[1]] for frame in faces(8, side=32)]
    picture, stream = np.empty((*size_hw, 3), np.uint8), ClipStream(spec)
    for frame in frames:
        picture[:] = frame
        result = stream.push(picture)
    assert result is not None
    assert_same(result, built(frames[-4:], spec))


def test_memory_is_constant_after_the_first_window() -> None:
    stream, frames = ClipStream(spec_of(*KINDS, side=32)), itertools.cycle(faces(10))
    tracemalloc.start()
    held = []
    for _ in range(4):
        for frame in itertools.islice(frames, 20):
            stream.push(frame)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] < 1.1 * held[0]


@pytest.mark.parametrize("frame", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3))])
def test_an_invalid_frame_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(SpecError, match=r"A frame must be \(H, W, 3\) RGB uint8, got"):
        ClipStream(spec_of("rgb")).push(frame)


@pytest.mark.parametrize(
    "changes",
    [
        {"rate_hz": None},
        {"rate_hz": 10.0},  # five frames a window, four taken
        {"window": Window(length_s=0.5, stride_s=0.2)},
        {"window": Window(length_s=0.5, stride_s=0.05)},
        {"sampling": Last(length=3)},
        {"sampling": Uniform(length=3)},
        {"sampling": Offsets(offsets=(0, 1, 2, 3))},
        {"streams": (*spec_of("rgb").streams, Vector(kind="mbmic"))},
        {"streams": (*spec_of("rgb").streams, LogMel())},
    ],
    ids=str,
)
def test_other_windows_are_not_served(changes: dict[str, Any]) -> None:
    spec = spec_of("rgb").model_copy(update=changes)
    assert not ClipStream.serves(spec)
    with pytest.raises(SpecError, match="Use build_clip"):
        ClipStream(spec)


@pytest.mark.parametrize(("rate_hz", "length"), [(7.0, 9), (30 / 1.001, 16), (0.1, 2)])
def test_seconds_that_are_no_round_numbers_are_whole_frames_still(
    rate_hz: float, length: int
) -> None:
    window = Window(length_s=length / rate_hz, stride_s=2 / rate_hz)
    update = {"rate_hz": rate_hz, "window": window, "sampling": Last(length=length)}
    assert ClipStream.serves(spec_of("rgb").model_copy(update=update))
