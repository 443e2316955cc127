from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from emoscope.core.errors import SpecError
from emoscope.training.augment import Augmentation, augment

EVERYTHING = Augmentation(
    flip=0.5,
    rotate_deg=15,
    shift=0.1,
    scale=(0.8, 1.2),
    brightness=0.2,
    contrast=0.3,
    blur=0.5,
    erase=0.5,
)
ALONE: dict[str, dict[str, Any]] = {
    "flip": {"flip": 1.0},
    "rotate": {"rotate_deg": 30},
    "shift": {"shift": 0.2},
    "scale": {"scale": (0.7, 0.9)},
    "brightness": {"brightness": 0.3},
    "contrast": {"contrast": 0.5},
    "blur": {"blur": 1.0},
    "erase": {"erase": 1.0},
}


def picture(seed: int = 0, height: int = 40, width: int = 32) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def changed(frame: npt.NDArray[np.uint8], seed: int = 0, **settings: Any) -> npt.NDArray[np.uint8]:
    (after,) = augment([frame], Augmentation(**settings), np.random.default_rng(seed))
    return after


@pytest.mark.parametrize("seed", range(20))
def test_one_draw_serves_all_frames_of_a_clip(seed: int) -> None:
    one, other = picture(0), picture(1)
    first, between, again = augment([one, other, one], EVERYTHING, np.random.default_rng(seed))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, between)
    alone = augment([other], EVERYTHING, np.random.default_rng(seed))
    np.testing.assert_array_equal(between, alone[0])


@pytest.mark.parametrize("seed", range(20))
def test_settings_of_zero_change_nothing(seed: int) -> None:
    np.testing.assert_array_equal(changed(picture(), seed), picture())


@pytest.mark.parametrize("name", ALONE)
def test_every_setting_acts_and_keeps_the_size(name: str) -> None:
    before = picture()
    results = [changed(before, seed, **ALONE[name]) for seed in range(5)]
    assert all(after.shape == before.shape and after.dtype == np.uint8 for after in results)
    assert all(not np.array_equal(after, before) for after in results)
    np.testing.assert_array_equal(before, picture())  # the original is not touched


@pytest.mark.parametrize("name", [name for name in ALONE if name != "flip"])
def test_clips_are_drawn_anew_and_a_seed_draws_the_same(name: str) -> None:
    settings = ALONE[name]
    one, again, other = (changed(picture(), seed, **settings) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("size", [(40, 32), (41, 33), (1, 6)])
def test_a_flip_mirrors_exactly(size: tuple[int, int]) -> None:
    frame = picture(0, *size)
    np.testing.assert_array_equal(changed(frame, flip=1.0), frame[:, ::-1])


def test_flips_come_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    frame = picture()
    clips = (augment([frame], Augmentation(flip=0.3), rng)[0] for _ in range(400))
    flips = sum(np.array_equal(after, frame[:, ::-1]) for after in clips)
    assert 90 <= flips <= 150


def test_brightness_adds_one_amount_to_every_pixel_within_its_bound() -> None:
    frame = np.full((8, 8, 3), 128, np.uint8)
    lifts = []
    for seed in range(200):
        after = changed(frame, seed, brightness=0.1).astype(int)
        assert np.ptp(after) == 0
        lifts.append(after[0, 0, 0] - 128)
    assert -26 <= min(lifts) < -20  # 0.1 * 255 is 25.5
    assert 20 < max(lifts) <= 26


@pytest.mark.parametrize("seed", range(10))
def test_light_is_rounded_and_not_cut_off(seed: int) -> None:
    """A change of less than half a level is none; cutting off would darken every picture."""
    np.testing.assert_array_equal(changed(picture(), seed, brightness=0.0019), picture())


def test_contrast_turns_about_middle_grey() -> None:
    frame = np.array([[[78] * 3, [178] * 3]], dtype=np.uint8)
    for seed in range(20):
        dark, light = changed(frame, seed, contrast=0.5)[0, :, 0].astype(int)
        assert abs((dark + light) / 2 - 127.5) <= 1
        assert 48 <= light - dark <= 152


def test_a_shift_moves_the_picture_and_repeats_its_edge() -> None:
    frame = np.zeros((20, 20, 3), np.uint8)
    frame[:, :10] = 200
    for seed in range(20):
        columns = changed(frame, seed, shift=0.25)[10, :, 0].astype(float)
        assert np.all(np.diff(columns) <= 0)  # still one edge, light to dark, nothing dark enters
        assert abs(columns.sum() / 200 - 10) <= 5.1


def test_a_smaller_scale_makes_things_smaller() -> None:
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[10:30, 10:30] = 255
    area = changed(frame, scale=(0.5, 0.5))[..., 0].mean() / frame[..., 0].mean()
    assert area == pytest.approx(0.25, abs=0.03)


def test_a_cover_is_one_even_rectangle() -> None:
    frame = picture()
    for seed in range(10):
        after = changed(frame, seed, erase=1.0)
        rows, columns = np.nonzero((after != frame).any(axis=2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 0.1 * 40 <= height <= 0.4 * 40 + 1
        assert 0.1 * 32 <= width <= 0.4 * 32 + 1
        assert np.ptp(after[rows, columns]) == 0


def test_a_blur_loses_detail_and_keeps_the_mean() -> None:
    after = changed(picture(), blur=1.0)
    assert after.std() < 0.8 * picture().std()
    assert after.mean() == pytest.approx(picture().mean(), abs=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": 1.5},
        {"rotate_deg": -1},
        {"scale": (0.0, 1.0)},
        {"scale": (1.2, 0.8)},
        {"contrast": 1.0},
        {"zoom": 2},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Augmentation(**settings)


def test_frames_of_differing_sizes_are_refused() -> None:
    with pytest.raises(SpecError, match="one size"):
        augment([picture(), picture(0, 10, 10)], EVERYTHING, np.random.default_rng(0))
