from dataclasses import fields
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from emoscope.media.clips import Material
from emoscope.media.motion import optical_flow
from emoscope.training.augment import Augmentation, Draw, draw

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

EVERYTHING = Augmentation(
    flip=0.5,
    rotate_deg=15,
    scale=(0.8, 1.2),
    shift=0.1,
    corner_shift=(0.05, 0.04),
    crop_sides=(0.875, 0.75),
    brightness=0.2,
    contrast=0.3,
    blur=0.5,
    gaussian_blur=(0, 0.02),
    erase=0.5,
)
ALONE: dict[str, dict[str, Any]] = {
    "flip": {"flip": 1.0},
    "rotate": {"rotate_deg": 30},
    "shift": {"shift": 0.2},
    "scale": {"scale": (0.7, 0.9)},
    "crop": {"crop_sides": (0.875, 0.75, 0.65625)},
    "brightness": {"brightness": 0.3},
    "contrast": {"contrast": 0.5},
    "blur": {"blur": 1.0},
    "gaussian": {"gaussian_blur": (0.03, 0.05)},
    "erase": {"erase": 1.0},
}
LIGHT_AND_BLUR = Draw(gain=1.3, lift=0.1, detour=0.5, sigma=0.02)


def picture(seed: int = 0, height: int = 40, width: int = 32) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def material(*frames: Bytes) -> Material:
    clip = np.stack(frames)
    clip.flags.writeable = False  # as a cached clip is: what comes in is not touched
    return Material({frames[0].shape[:2]: clip})


def shown(change: Draw, *frames: Bytes) -> Bytes:
    (after,) = change.apply(material(*frames)).pictures.values()
    return after


def changed(frame: Bytes, seed: int = 0, **settings: Any) -> Bytes:
    return shown(draw(Augmentation(**settings), np.random.default_rng(seed)), frame)[0]


def smooth(height: int, width: int, seed: int = 0) -> Bytes:
    """Coarse colours, spread over the whole frame: the same picture at any size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def growing_texture(side: int = 96, frames: int = 3) -> Bytes:
    """A drifting, growing texture, whose flow differs from place to place."""
    noise = np.random.default_rng(1).random((side + 40, side + 40, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 1.5)
    texture = (soft - soft.min()) / np.ptp(soft) * 255
    y, x = np.mgrid[:side, :side].astype(np.float32)
    clip = [
        cv2.remap(
            texture,
            20 + x - k * (1.2 + x / side),
            20 + y - k * (0.8 * y / side - 0.8),
            cv2.INTER_LINEAR,
        )
        for k in range(frames)
    ]
    return np.rint(np.stack(clip)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(20))
def test_one_draw_serves_all_frames_of_a_clip(seed: int) -> None:
    one, other = picture(0), picture(1)
    change = draw(EVERYTHING, np.random.default_rng(seed))
    first, between, again = shown(change, one, other, one)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, between)
    np.testing.assert_array_equal(between, shown(change, other)[0])


@pytest.mark.parametrize("seed", range(20))
def test_settings_of_zero_change_nothing(seed: int) -> None:
    change = draw(Augmentation(), np.random.default_rng(seed))
    assert change.detour == change.gain == 1
    frame = picture(seed)
    flow = np.random.default_rng(seed).normal(size=(2, 40, 32, 2)).astype(np.float32)
    after = change.apply(Material({(40, 32): frame[None]}, {(40, 32): flow}))
    np.testing.assert_array_equal(after.pictures[40, 32][0], frame)
    np.testing.assert_array_equal(after.flow[40, 32], flow)


@pytest.mark.parametrize("name", ALONE)
def test_every_setting_acts_and_keeps_the_size(name: str) -> None:
    before = picture()
    results = [changed(before, seed, **ALONE[name]) for seed in range(5)]
    assert all(after.shape == before.shape and after.dtype == np.uint8 for after in results)
    assert all(not np.array_equal(after, before) for after in results)


@pytest.mark.parametrize("name", [name for name in ALONE if name != "flip"])
def test_clips_are_drawn_anew_and_a_seed_draws_the_same(name: str) -> None:
    settings = ALONE[name]
    one, again = (changed(picture(), 3, **settings) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert any(not np.array_equal(one, changed(picture(), s, **settings)) for s in range(4, 12))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", ALONE)
def test_one_setting_does_not_change_what_the_others_draw(name: str, seed: int) -> None:
    plain = draw(Augmentation(), np.random.default_rng(seed))
    alone = draw(Augmentation(**ALONE[name]), np.random.default_rng(seed))
    whole = draw(EVERYTHING.model_copy(update=ALONE[name]), np.random.default_rng(seed))
    moved = {f.name for f in fields(Draw) if getattr(plain, f.name) != getattr(alone, f.name)}
    assert len(moved) == 1
    if name != "shift":  # to which the corners add
        assert all(getattr(alone, key) == getattr(whole, key) for key in moved)


def test_the_generator_goes_on_alike_whatever_the_settings() -> None:
    plain, rich = np.random.default_rng(0), np.random.default_rng(0)
    draw(Augmentation(), plain)
    draw(EVERYTHING, rich)
    assert plain.random() == rich.random()


@pytest.mark.parametrize(
    "change",
    [
        Draw(flip=True),
        Draw(angle_deg=25),
        Draw(factor=0.8),
        Draw(shift=(0.1, -0.15)),
        Draw(crop=(0.25, 0.0, 0.75, 0.65)),
        LIGHT_AND_BLUR,
        Draw(cover=(0.25, 0.5, 0.25, 0.25), shade=9),
        Draw(True, 20, 1.2, (0.05, 0.1), (0.125, 0, 0.875, 0.75), sigma=0.01),
    ],
    ids=str,
)
def test_every_size_of_a_clip_shows_the_same_change(change: Draw) -> None:
    small, large = (60, 48), (120, 96)
    after = change.apply(Material({size: smooth(*size)[None] for size in (small, large)}))
    halved = cv2.resize(after.pictures[large][0], small[::-1], interpolation=cv2.INTER_AREA)
    difference = np.abs(halved.astype(float) - after.pictures[small][0])
    assert difference.mean() < 2
    assert np.quantile(difference, 0.99) < 8


@pytest.mark.parametrize("size", [(40, 32), (41, 33), (1, 6)])
def test_a_flip_mirrors_exactly(size: tuple[int, int]) -> None:
    frame = picture(0, *size)
    np.testing.assert_array_equal(changed(frame, flip=1.0), frame[:, ::-1])


def test_flips_come_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    flips = sum(draw(Augmentation(flip=0.3), rng).flip for _ in range(400))
    assert 90 <= flips <= 150


def test_a_quarter_turn_is_counter_clockwise_and_exact() -> None:
    frame = picture(0, 32, 32)
    np.testing.assert_array_equal(shown(Draw(angle_deg=90), frame)[0], np.rot90(frame))


def test_a_crop_is_the_part_stretched_to_the_frame() -> None:
    frame = smooth(64, 64)
    after = shown(Draw(crop=(0.25, 0.125, 0.75, 0.875)), frame)[0]
    expected = cv2.resize(frame[8:, 16:], (64, 64), interpolation=cv2.INTER_LINEAR)
    inside = np.s_[2:-2, 2:-2]  # along its inner edges the crop still sees what lies beyond
    assert np.abs(after.astype(float) - expected)[inside].max() <= 2


def test_a_crop_is_taken_of_the_turned_picture() -> None:
    frame = smooth(64, 64)
    after = shown(Draw(angle_deg=90, crop=(0, 0, 0.5, 1)), frame)[0]
    expected = cv2.resize(np.rot90(frame)[:, :32], (64, 64), interpolation=cv2.INTER_LINEAR)
    assert np.abs(after.astype(float) - expected)[2:-2, 2:-2].max() <= 2


def test_crops_are_drawn_from_four_corners_and_the_centre_and_sides_independently() -> None:
    """Fan and Ke's: 3 widths, 3 heights, 5 places."""
    settings = Augmentation(crop_sides=(0.875, 0.75, 0.65625))
    rng = np.random.default_rng(0)
    crops = [draw(settings, rng).crop for _ in range(1500)]
    assert len(set(crops)) == 45
    for left, top, wide, high in crops:
        assert (left / (1 - wide), top / (1 - high)) in {(0.5, 0.5), (0, 0), (1, 0), (0, 1), (1, 1)}
    assert all(15 <= crops.count(crop) <= 60 for crop in set(crops))


def test_a_corner_shift_moves_whole_pixels_to_one_of_four_corners_or_not_at_all() -> None:
    """Tahghighi et al.'s 25 px at 720 x 576, as seen at a fifth of the size: 5 px."""
    settings = Augmentation(corner_shift=(25 / 720, 25 / 576))
    rng, frame = np.random.default_rng(0), picture(0, 576 // 5, 720 // 5)
    seen = {draw(settings, rng).shift for _ in range(100)}
    x, y = 25 / 720, 25 / 576
    assert seen == {(0, 0), (x, y), (-x, y), (x, -y), (-x, -y)}
    after = shown(Draw(shift=(5 / 144, -5 / 115)), frame)[0]
    np.testing.assert_array_equal(after[:-5, 5:], frame[5:, :-5])


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


@pytest.mark.parametrize("settings", [{"blur": 1.0}, {"gaussian_blur": (0.03,)}], ids=str)
def test_a_blur_loses_detail_and_keeps_the_mean(settings: dict[str, Any]) -> None:
    after = changed(picture(), **settings)
    assert after.std() < 0.8 * picture().std()
    assert after.mean() == pytest.approx(picture().mean(), abs=2)


def test_a_gaussian_blur_softens_an_edge_by_its_sigma() -> None:
    frame = np.zeros((80, 80, 3), np.uint8)
    frame[:, 40:] = 255
    after = shown(Draw(sigma=2 / 80), frame)[0, 40, :, 0].astype(float)
    slopes, at = np.diff(after), np.arange(0.5, 79) - 39.5
    assert np.sum(slopes * at) / 255 == pytest.approx(0, abs=0.01)
    assert np.sqrt(np.sum(slopes * at**2) / 255) == pytest.approx(2, rel=0.03)


def test_one_of_the_gaussian_strengths_is_drawn() -> None:
    rng = np.random.default_rng(0)
    settings = Augmentation(gaussian_blur=(0, 0.01, 0.02))
    drawn = [draw(settings, rng).sigma for _ in range(300)]
    assert {0, 0.01, 0.02} == set(drawn)
    assert all(70 <= drawn.count(sigma) <= 130 for sigma in (0, 0.01, 0.02))


@pytest.mark.parametrize(
    "change",
    [
        Draw(flip=True),
        Draw(angle_deg=30),
        Draw(factor=0.8),
        Draw(factor=1.25),
        Draw(shift=(0.1, -0.05)),
        Draw(crop=(0, 0.25, 0.875, 0.75)),
        Draw(True, 20, 1.1, (0.05, 0.05), (0.1, 0.1, 0.8, 0.9)),
    ],
    ids=str,
)
def test_flow_is_changed_to_what_is_seen_in_the_changed_pictures(change: Draw) -> None:
    frames = growing_texture()
    size = frames.shape[1], frames.shape[2]
    after = change.apply(Material({size: frames}, {size: optical_flow(frames)}))
    seen = optical_flow(after.pictures[size])
    inside = np.s_[:, 20:-20, 20:-20]
    errors = np.linalg.norm(after.flow[size] - seen, axis=-1)
    assert np.linalg.norm(seen, axis=-1)[inside].mean() > 0.8
    assert errors[inside].mean() < 0.05
    assert errors.mean() < 0.25  # where the edge is repeated, flow is a guess


def test_flow_of_a_mirror_image_by_hand() -> None:
    flow = np.zeros((1, 4, 6, 2), np.float32)
    flow[0, 1, 2] = 3, 5
    (after,) = Draw(flip=True).apply(Material({}, {(4, 6): flow})).flow.values()
    assert after[0, 1, 3].tolist() == [-3, 5]
    assert np.count_nonzero(after) == 2


def test_light_and_blur_leave_flow_and_nothing_moves_under_a_cover() -> None:
    flow = np.random.default_rng(0).normal(size=(3, 20, 20, 2)).astype(np.float32)
    (after,) = LIGHT_AND_BLUR.apply(Material({}, {(20, 20): flow})).flow.values()
    np.testing.assert_array_equal(after, flow)
    (after,) = (
        Draw(cover=(0.5, 0, 0.5, 0.25), shade=90)
        .apply(Material({}, {(20, 20): flow}))
        .flow.values()
    )
    assert not after[:, :5, 10:].any()
    np.testing.assert_array_equal(after[:, 5:], flow[:, 5:])
    np.testing.assert_array_equal(after[:, :, :10], flow[:, :, :10])


def test_sound_is_left_alone() -> None:
    egemaps = np.arange(88, dtype=np.float32)
    sound = Material({}, {}, {"egemaps": egemaps})
    after = draw(EVERYTHING, np.random.default_rng(0)).apply(sound)
    np.testing.assert_array_equal(after.vectors["egemaps"], egemaps)


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": 1.5},
        {"rotate_deg": -1},
        {"scale": (0.0, 1.0)},
        {"scale": (1.2, 0.8)},
        {"scale": (1.0, float("inf"))},
        {"contrast": 1.0},
        {"brightness": float("nan")},
        {"corner_shift": (25, 25)},
        {"crop_sides": (224, 192)},
        {"crop_sides": (0.0,)},
        {"gaussian_blur": (1.5,)},
        {"zoom": 2},
    ],
    ids=str,
)
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Augmentation(**settings)
