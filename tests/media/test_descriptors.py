"""Descriptors locate motion in space, direction and time, and are zero without motion."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from emoscope.core.clipspec import DIMENSIONS
from emoscope.core.errors import SpecError
from emoscope.media.descriptors import (
    BLOCKS,
    DIRECTIONS,
    HOG_KLT_LENGTH,
    MBMIC_LENGTH,
    MOTION_SHAPE,
    SEGMENTS,
    SHAPE_PARTS,
    hog_klt,
    mbmic,
)

Frames = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Describe = Callable[[Frames], Floats]
SIDE = 128
both = pytest.mark.parametrize("describe", [hog_klt, mbmic])
# By bin, y down: in bins 0 and 2 to the right and down.
WAYS = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]


def texture(side: int, seed: int = 0, sigma_xy: tuple[float, float] = (2, 2)) -> Floats:
    """A smooth random image with values from 60 to 180."""
    noise = np.random.default_rng(seed).random((side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma_xy[0], sigmaY=sigma_xy[1])
    return np.asarray(60 + 120 * (smooth - smooth.min()) / np.ptp(smooth), np.float32)


def film(places: npt.ArrayLike, side: int = 40, sigma_xy: tuple[float, float] = (2, 2)) -> Frames:
    """A textured square on a plain ground, its upper left corner at these places (T, 2), x and y
    in pixels: (T, SIDE, SIDE, 3). Between pixels it is interpolated."""
    square, frames = texture(side, sigma_xy=sigma_xy), []
    for x, y in np.asarray(places, dtype=np.float64):
        shift = np.array([[1, 0, x], [0, 1, y]])
        scene = cv2.warpAffine(square, shift, (SIDE, SIDE), borderValue=(120.0,))
        frames.append(np.repeat(np.rint(scene).astype(np.uint8)[..., None], 3, axis=2))
    return np.stack(frames)


def walk(start: tuple[float, float], step: tuple[float, float], length: int = 13) -> Frames:
    return film(np.array(start) + np.arange(length)[:, None] * np.array(step))


def motion(vector: Floats) -> Floats:
    return vector[: np.prod(MOTION_SHAPE)].reshape(MOTION_SHAPE)


def shape(vector: Floats) -> Floats:
    """(parts, mean or deviation, HOG)."""
    return vector[np.prod(MOTION_SHAPE) :].reshape(SHAPE_PARTS, 2, -1)


def code(vector: Floats) -> Floats:
    return vector.reshape(SEGMENTS, BLOCKS, BLOCKS)


@both
@pytest.mark.parametrize("length", [1, 2, 5, 32])
def test_a_vector_has_its_documented_length_for_any_clip(describe: Describe, length: int) -> None:
    vector = describe(walk((40, 40), (1, 0), length))
    assert vector.shape == (HOG_KLT_LENGTH if describe is hog_klt else MBMIC_LENGTH,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    assert vector.any() == (length > 1)


def test_a_clip_spec_knows_the_lengths() -> None:
    assert (DIMENSIONS["hog_klt"], DIMENSIONS["mbmic"]) == (HOG_KLT_LENGTH, MBMIC_LENGTH)


@both
@pytest.mark.parametrize("shape", [(4, 64, 64, 3), (1, 64, 64, 3), (4, 3, 2, 3)])
def test_a_blank_scene_gives_zeros(describe: Describe, shape: tuple[int, ...]) -> None:
    assert not describe(np.full(shape, 90, np.uint8)).any()


def test_a_still_clip_has_shape_but_no_motion() -> None:
    still = walk((40, 40), (0, 0))
    assert not motion(hog_klt(still)).any()
    assert shape(hog_klt(still)).any(axis=(1, 2)).all()
    assert not mbmic(still).any()


@both
def test_noise_and_tiny_frames_are_described(describe: Describe) -> None:
    rng = np.random.default_rng(0)
    for side in (5, 17, 64):
        frames = rng.integers(0, 256, (6, side, side + 3, 3), dtype=np.uint8)
        assert np.isfinite(describe(frames)).all()


@both
def test_descriptors_are_deterministic_and_do_not_change_the_clip(describe: Describe) -> None:
    frames = walk((40, 40), (1.3, -0.4))
    kept = frames.copy()
    np.testing.assert_array_equal(describe(frames), describe(frames))
    np.testing.assert_array_equal(describe(frames), describe(frames[::-1].copy()[::-1]))
    np.testing.assert_array_equal(frames, kept)


@pytest.mark.parametrize(("way", "step"), list(enumerate(WAYS)))
def test_a_direction_has_its_bin(way: int, step: tuple[int, int]) -> None:
    histogram = motion(hog_klt(walk((44, 44), step))).sum(axis=(0, 1, 2))
    assert len(WAYS) == DIRECTIONS
    assert histogram.argmax() == way
    assert histogram[way] > 0.9 * histogram.sum()


def test_a_direction_between_two_bins_is_shared() -> None:
    histogram = motion(hog_klt(walk((44, 44), (2, 0.828)))).sum(axis=(0, 1, 2))  # 22.5 degrees
    assert histogram[0] == pytest.approx(histogram[1], rel=0.15)
    assert histogram[:2].sum() > 0.95 * histogram.sum()


@pytest.mark.parametrize("speed", [0.5, 1.5, 4.0])
def test_tracks_follow(speed: float) -> None:
    """The square stays in the middle cell and contains all points."""
    places = 44 + np.array([0, 1, 0, -1] * 3 + [0])[:, None] * [speed, 0]
    values = motion(hog_klt(film(places)))[:, 1, 1]
    np.testing.assert_allclose(values.sum(axis=-1), speed, atol=0.2)
    steady = motion(hog_klt(walk((44 - 2 * speed, 44), (speed, 0), 5)))[:, 1, 1]
    np.testing.assert_allclose(steady[:, 0], speed, atol=0.2)


def test_a_point_that_cannot_be_found_again_is_dropped() -> None:
    """Every frame shows another scene, so that no track is reliable."""
    scenes = [texture(SIDE, seed) for seed in range(8)]
    frames = np.repeat(np.rint(scenes).astype(np.uint8)[..., None], 3, axis=-1)
    cut = motion(hog_klt(frames)).sum(axis=-1)
    assert np.count_nonzero(cut) < 0.7 * cut.size


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 2), (1, 1), (2, 1)])
def test_motion_is_located_in_space_and_time(row: int, column: int) -> None:
    """A square that fits its cell rests, moves in the fourth sixth of the clip, and rests."""
    x = np.clip(np.arange(31) - 15, 0, 5)[:, None] * [1, 0] + np.array([column, row]) * 43 + 4
    values = motion(hog_klt(film(x, side=28))).sum(axis=-1)
    assert np.unravel_index(values.argmax(), values.shape) == (3, row, column)
    assert values[3, row, column] > 0.9 * values.sum()


@both
def test_a_reversed_clip_has_another_vector(describe: Describe) -> None:
    """A sudden start and a slow return, and its reversal."""
    x = np.interp(np.arange(25), [0, 3, 24], [0, 12, 0])[:, None] * [1, 0] + 44
    forwards, backwards = describe(film(x)), describe(film(x[::-1]))
    far = np.abs(forwards - backwards).max()
    assert far > 0.5 * forwards.max()


def test_brightness_and_contrast_do_not_change_the_vector() -> None:
    frames = walk((30, 50), (1.5, -0.5), 17)
    lighter = hog_klt(frames + np.uint8(40))
    np.testing.assert_allclose(lighter, hog_klt(frames), atol=1e-3)
    assert np.abs(mbmic(frames + np.uint8(40)) - mbmic(frames)).max() < 0.01


def test_a_moving_point_is_tracked() -> None:
    """In the third step the square is in the middle column, not where it started."""
    values = motion(hog_klt(film([(10 + 14 * t, 44) for t in range(4)], side=30)))[-1].sum(axis=-1)
    assert values[1, 1] == pytest.approx(14, abs=0.2)


def test_a_point_that_vanishes_is_dropped() -> None:
    seen = walk((44, 44), (0, 0), 5)
    vector = hog_klt(np.concatenate([seen, np.full((8, SIDE, SIDE, 3), 120, np.uint8)]))
    assert not motion(vector).any()
    assert shape(vector)[0].any()
    assert not shape(vector)[1:].any()


def test_the_patch_is_centred_on_its_point() -> None:
    frames = np.full((5, SIDE, SIDE, 3), 60, np.uint8)
    frames[:, 70:73, 50:53] = 180  # its one corner is its middle
    cells = shape(hog_klt(frames))[0, 0].reshape(4, -1).sum(axis=1)
    assert cells.min() > 0.7 * cells.max()


def test_shape_describes_tracked_points_only() -> None:
    """Horizontal stripes have vertical gradients in all tracks."""
    stripes = np.full((SIDE, SIDE), 60, np.uint8)
    stripes[20:100:16, 30:90] = stripes[21:100:16, 30:90] = 180
    frames = np.repeat(np.stack([np.roll(stripes, t, axis=1) for t in range(9)])[..., None], 3, 3)
    mean = shape(hog_klt(frames))[:, 0].reshape(SHAPE_PARTS, 4, -1).sum(axis=1)
    across = hog_klt(np.ascontiguousarray(frames.transpose(0, 2, 1, 3)))
    turned = shape(across)[:, 0].reshape(SHAPE_PARTS, 4, -1).sum(axis=1)
    upright, level = mean[:, [3, 4]].sum(axis=1), mean[:, [0, 7]].sum(axis=1)
    assert (upright > 1.5 * level).all()
    assert (turned[:, [0, 7]].sum(axis=1) > 1.5 * turned[:, [3, 4]].sum(axis=1)).all()


def test_tracks_of_any_length_have_equal_weight() -> None:
    """One square in all frames, and another in all frames or from frame 4 of 25 on."""
    first = film([(8, 44)] * 25, 36, (3, 1))
    second = film([(84, 44)] * 25, 36, (1, 3))
    throughout = np.where(np.arange(SIDE)[:, None] < 64, first, second)
    later = throughout.copy()
    later[:4] = first[:4]
    mixed, alone = (shape(hog_klt(frames))[0] for frames in (throughout, first))
    np.testing.assert_allclose(shape(hog_klt(later))[0], mixed, atol=0.01)
    assert np.abs(alone[0] - mixed[0]).max() > 0.1
    assert np.linalg.norm(mixed[0]) <= 1.001  # a mean of unit vectors
    assert mixed[1].mean() > 1.1 * alone[1].mean() > 0  # two looks spread more than one


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (7, 7)])
def test_the_code_peaks_where_and_when_something_changed(row: int, column: int) -> None:
    frames = np.full((13, SIDE, SIDE, 3), 50, np.uint8)
    frames[9:, 16 * row + 3, 16 * column + 15] = 101  # one pixel, from the tenth frame on
    values = code(mbmic(frames))
    assert values[4, row, column] == pytest.approx(51 / 255)
    assert np.count_nonzero(values) == 1


def test_the_code_is_the_largest_change_in_each_block() -> None:
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (13, 32, 32, 1), dtype=np.uint8), 3, axis=3)
    changes = np.abs(np.diff(frames[..., 0].astype(int), axis=0))
    wanted = changes.reshape(SEGMENTS, 2, BLOCKS, 4, BLOCKS, 4).max(axis=(1, 3, 5)) / 255
    np.testing.assert_allclose(code(mbmic(frames)), wanted, rtol=1e-6)


def test_a_clip_shorter_than_its_segments_fills_them_all() -> None:
    frames = walk((40, 40), (2, 0), 4)  # three steps, two segments each
    values = code(mbmic(frames))
    np.testing.assert_array_equal(values[::2], values[1::2])
    assert motion(hog_klt(frames)).any(axis=(1, 2, 3)).all()


@both
@pytest.mark.parametrize(
    "frames",
    [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 8, 8, 3))],
)
def test_invalid_frames_are_refused(describe: Describe, frames: Frames) -> None:
    with pytest.raises(SpecError, match="Frames must be"):
        describe(frames)
