import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from emoscope.core.results import Box
from emoscope.media.detectors.base import Detection
from emoscope.media.people.following import FollowedFace, View


def blobs(seed: int, size_wh: tuple[int, int] = (160, 120)) -> NDArray[np.uint8]:
    """A smooth random picture."""
    width, height = size_wh
    coarse = np.random.default_rng(seed).integers(60, 180, (height // 10, width // 10, 3))
    return cv2.resize(coarse.astype(np.uint8), size_wh, interpolation=cv2.INTER_CUBIC)


def test_a_patch_is_the_square_around_a_point() -> None:
    columns = np.tile(np.arange(160, dtype=np.uint8)[:, None], (120, 1, 3))
    patch = View(columns).patch((50.0, 60.0), side=24, patch_px=24)
    np.testing.assert_array_equal(patch[0], np.arange(38, 62))


@pytest.mark.parametrize("enlarged", [2, 4, 6])
def test_a_patch_of_a_larger_picture_is_the_same_only_coarser(enlarged: int) -> None:
    picture = blobs(0)
    large = cv2.resize(picture, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    patch = View(picture).patch((81.0, 59.0), 48, 24)
    same = View(large).patch((81.0 * enlarged, 59.0 * enlarged), 48 * enlarged, 24)
    assert np.abs(patch.astype(int) - same).mean() < 2
    assert np.abs(patch[:, 1:].astype(int) - same[:, :-1]).mean() > 4  # a pixel off would show


def test_only_a_different_picture_is_another_shot() -> None:
    first = blobs(0)
    brighter = (first + 50).astype(np.uint8)
    moved = np.roll(first, 3, axis=1)
    other = 255 - first
    assert not View(brighter).is_another_shot(View(first))
    assert not View(moved).is_another_shot(View(first))
    assert View(np.where(other > 128, 250, 5).astype(np.uint8)).is_another_shot(View(first))
    assert View(blobs(0, (120, 160))).is_another_shot(View(first))


def test_of_two_equally_close_detections_the_more_similar_one_costs_less() -> None:
    before = blobs(1)
    after = before.copy()
    after[:, 52:92], after[:, 92:] = before[:, 60:100], 128  # the face moved 8 px to the left
    face = FollowedFace(Detection(Box(60, 40, 100, 80), 0.9), View(before), 0.0)
    view = View(after)
    face.follow(view, 0.1, 0.1)
    face.hide()
    left, right = Detection(Box(52, 40, 92, 80), 0.9), Detection(Box(68, 40, 108, 80), 0.9)
    assert face.cost(right, view, 0.1) > face.cost(left, view, 0.1) + 0.4


def followed(shift: int, clarity: float, still_frames: int = 0) -> FollowedFace:
    """A 40 px face that moves left and is blended with another picture, in a tenth of a second."""
    before = blobs(1)
    after = clarity * np.roll(before, -shift, axis=1) + (1 - clarity) * blobs(2)
    face = FollowedFace(Detection(Box(60, 40, 100, 80), 0.9), View(before), 0.0)
    for _ in range(still_frames):
        face.follow(View(before), 0.0, 0.1)
    face.follow(View(after.astype(np.uint8)), 0.1, 0.1)
    return face


def test_a_still_face_has_a_still_box() -> None:
    assert followed(shift=0, clarity=1.0).match == pytest.approx(1, abs=1e-3)
    assert followed(shift=0, clarity=1.0).box == pytest.approx((60, 40, 100, 80), abs=0.05)


def test_a_match_farther_from_the_prediction_must_be_better() -> None:
    assert followed(shift=0, clarity=0.35).seen
    assert followed(shift=16, clarity=1.0).seen
    assert not followed(shift=16, clarity=0.35).seen


def test_a_poor_match_moves_the_box_less() -> None:
    clear = followed(shift=6, clarity=1.0, still_frames=10)
    doubtful = followed(shift=6, clarity=0.45, still_frames=10)
    assert clear.seen
    assert clear.box.x1 == pytest.approx(54, abs=1)
    assert doubtful.seen
    assert doubtful.box.x1 == pytest.approx(58.5, abs=1)


def test_hiding_a_face_undoes_the_match_of_this_frame() -> None:
    before = blobs(1)
    view = View(np.roll(before, -8, axis=1))
    face = FollowedFace(Detection(Box(60, 40, 100, 80), 0.9), View(before), 0.0)
    face.follow(view, 0.1, 0.1)
    assert face.seen
    assert face.box.x1 == pytest.approx(52, abs=1)
    face.hide()
    assert not face.seen
    assert face.box == pytest.approx((60, 40, 100, 80))


def test_a_detection_that_does_not_touch_the_face_costs_most() -> None:
    view = View(blobs(1))
    face = FollowedFace(Detection(Box(10, 10, 40, 40), 0.9), view, 0.0)
    assert face.cost(Detection(Box(100, 80, 130, 110), 0.9), view, 0.0) == 3.0
