import cv2
import numpy as np
import numpy.typing as npt
import pytest

from emoscope.core.errors import SpecError
from emoscope.media.motion import Weighting, dynamic_image, optical_flow, rank_weights


def texture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth random grey image."""
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray((smooth - smooth.min()) / np.ptp(smooth) * 255, dtype=np.uint8)


def translation(dx: int, dy: int, side: int = 96) -> npt.NDArray[np.uint8]:
    """(2, side, side, 3): what the first frame shows at (x, y) is at (x + dx, y + dy) next."""
    scene = texture(side + 20, side + 20)
    first = scene[10 : 10 + side, 10 : 10 + side]
    second = scene[10 - dy : 10 - dy + side, 10 - dx : 10 - dx + side]
    return np.repeat(np.stack([first, second])[..., None], 3, axis=3)


def linear_by_definition(length: int) -> list[float]:
    """Sum of the differences of every frame and every earlier one."""
    weights = [0.0] * length
    for later in range(length):
        for earlier in range(later):
            weights[later] += 1
            weights[earlier] -= 1
    return weights


def harmonic_by_definition(length: int) -> list[float]:
    """Rank the running means: sum over t of (2t - T - 1) times the mean of frames 1 to t."""
    weights = [0.0] * length
    for t in range(1, length + 1):
        for frame in range(t):
            weights[frame] += (2 * t - length - 1) / t
    return weights


def test_linear_weights_by_hand() -> None:
    assert rank_weights(4).tolist() == [-3, -1, 1, 3]
    assert rank_weights(1).tolist() == [0]


@pytest.mark.parametrize("length", [1, 2, 3, 10, 16, 50])
def test_linear_weights_rank_the_frames(length: int) -> None:
    assert rank_weights(length).tolist() == linear_by_definition(length)


@pytest.mark.parametrize("length", [1, 2, 3, 10, 16, 50])
def test_harmonic_weights_rank_the_running_means(length: int) -> None:
    np.testing.assert_allclose(
        rank_weights(length, "harmonic"), harmonic_by_definition(length), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("weighting", ["linear", "harmonic"])
@pytest.mark.parametrize("length", [1, 2, 7, 32, 100])
def test_weights_sum_to_zero(length: int, weighting: Weighting) -> None:
    weights = rank_weights(length, weighting)
    assert abs(float(weights.sum())) < 1e-5 * length**2


@pytest.mark.parametrize("weighting", ["linear", "harmonic"])
def test_the_dynamic_image_of_a_still_clip_is_exactly_zero(weighting: Weighting) -> None:
    picture = np.random.default_rng(0).random((6, 5, 3), dtype=np.float32)
    image = dynamic_image(np.stack([picture] * 11), weighting)
    assert image.shape == (6, 5, 3)
    assert image.dtype == np.float32
    assert np.all(image == 0)


def test_the_dynamic_image_of_a_ramp_by_hand() -> None:
    # Frame t is t * slope; the sum of (2t - T - 1) * t for t = 1..4 is -3 - 2 + 3 + 12 = 10.
    slope = np.array([[[0.1, -0.02]]], dtype=np.float32)
    ramp = np.arange(1, 5, dtype=np.float32)[:, None, None, None] * slope
    np.testing.assert_allclose(dynamic_image(ramp), 10 * slope, rtol=1e-5)


def test_a_clip_played_backwards_has_the_opposite_dynamic_image() -> None:
    clip = np.random.default_rng(0).random((9, 4, 5, 3), dtype=np.float32)
    np.testing.assert_allclose(dynamic_image(clip[::-1]), -dynamic_image(clip), atol=1e-5)


def test_flow_points_in_the_direction_of_motion() -> None:
    """x to the right, y down: a move of 3 px right and 2 px up is (3, -2)."""
    flow = optical_flow(translation(3, -2))
    assert flow.shape == (1, 96, 96, 2)
    assert flow.dtype == np.float32
    middle = flow[0, 24:72, 24:72].reshape(-1, 2)
    np.testing.assert_allclose(np.median(middle, axis=0), [3, -2], atol=0.1)
    assert np.abs(middle - [3, -2]).max() < 0.3


def test_flow_is_equal_for_bytes_floats_and_grey() -> None:
    clip = translation(2, 1)
    expected = optical_flow(clip)
    np.testing.assert_array_equal(optical_flow(clip.astype(np.float32) / 255), expected)
    np.testing.assert_array_equal(optical_flow(clip[..., :1]), expected)


def test_there_is_one_flow_between_two_frames_in_their_order() -> None:
    right, left = translation(2, 0), translation(-2, 0)
    flow = optical_flow(np.stack([right[0], right[1], right[0], left[1]]))
    assert np.sign(np.median(flow[..., 0], axis=(1, 2))).tolist() == [1, -1, -1]


@pytest.mark.parametrize("motion", [(1, 0), (0, -2), (-4, 3), (5, 5)])
def test_a_pure_translation_is_that_vector_in_pixels(motion: tuple[int, int]) -> None:
    flow = optical_flow(translation(*motion)[:, :72])[0]  # wider than high
    middle = flow[24:48, 24:72].reshape(-1, 2)
    np.testing.assert_allclose(np.median(middle, axis=0), motion, atol=0.1)
    assert np.abs(middle - motion).max() < 0.5


@pytest.mark.parametrize("side", [8, 96])
def test_flow_of_a_still_clip_is_exactly_zero(side: int) -> None:
    flow = optical_flow(np.stack([texture(side, side)[..., None]] * 3))
    assert flow.shape == (2, side, side, 2)
    assert np.all(flow == 0)


def test_bytes_are_pooled_exactly() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (16, 5, 6, 3), dtype=np.uint8)
    exact = np.tensordot(2 * np.arange(1, 17) - 17, clip.astype(np.int64), axes=1)
    np.testing.assert_array_equal(dynamic_image(clip), exact)


def test_flow_is_pooled_in_double_precision() -> None:
    """In single precision the sum of a large, constant flow would lose digits."""
    flow = np.random.default_rng(0).normal(300, 0.01, (64, 5, 6, 2)).astype(np.float32)
    exact = np.tensordot(2.0 * np.arange(1, 65) - 65, flow.astype(np.float64), axes=1)
    np.testing.assert_allclose(dynamic_image(flow), exact, rtol=1e-6, atol=1e-9)


def test_one_frame_has_no_flow() -> None:
    assert optical_flow(np.zeros((1, 8, 9, 3), np.uint8)).shape == (0, 8, 9, 2)


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (4, 4, 3), (2, 3, 4, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for function in (dynamic_image, optical_flow):
        with pytest.raises(SpecError, match=r"A clip must be \(T, H, W, C\)"):
            function(np.zeros(shape, np.uint8))


def test_flow_of_two_channels_is_refused() -> None:
    with pytest.raises(SpecError, match="got 2 channels"):
        optical_flow(np.zeros((2, 8, 8, 2), np.uint8))
