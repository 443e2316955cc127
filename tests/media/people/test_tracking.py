from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from emoscope.core.results import Box
from emoscope.media.detectors import create_detector
from emoscope.media.detectors.base import Detection
from emoscope.media.detectors.cascades import CascadeDetector
from emoscope.media.detectors.whole_frame import WholeFrame
from emoscope.media.people.tracking import FaceTracker, TrackedFace
from emoscope.media.video import read_frames

CLIPS = Path(__file__).parents[4] / "shared" / "clips"
Picture = NDArray[np.uint8]


class Scripted:
    """A detector that returns the given detections, call by call, and nothing afterwards."""

    def __init__(self, script: Iterable[Sequence[Detection]]) -> None:
        self._script = iter(script)
        self.calls = 0

    def detect(self, rgb: Picture) -> list[Detection]:
        self.calls += 1
        return list(next(self._script, ()))


class Staged:
    """A detector that reads a frame's number from its first pixel and returns its faces."""

    def __init__(self, script: Sequence[Sequence[Detection]]) -> None:
        self._script = script

    def detect(self, rgb: Picture) -> list[Detection]:
        return list(self._script[rgb[0, 0, 0]])


class Counted:
    """The Haar detector, counting its calls."""

    def __init__(self) -> None:
        self._haar = create_detector("haar")
        self.calls = 0

    def detect(self, rgb: Picture) -> list[Detection]:
        self.calls += 1
        return self._haar.detect(rgb)


def face_at(x: float, y: float, side: float = 40, score: float = 0.9) -> Detection:
    return Detection(Box(x, y, x + side, y + side), score)


def follow(
    tracker: FaceTracker, pictures: Iterable[Picture], rate_hz: float = 10
) -> list[list[TrackedFace]]:
    return [tracker.update(rgb, i / rate_hz) for i, rgb in enumerate(pictures)]


def follow_script(
    script: Sequence[Sequence[Detection]], rate_hz: float = 10
) -> list[list[TrackedFace]]:
    """Track scripted detections in pictures without texture, in which nothing can be followed."""
    pictures = np.full((len(script), 120, 320, 3), 128, np.uint8)
    pictures[:, 0, 0] = np.arange(len(script))[:, None]
    return follow(FaceTracker(Staged(script)), pictures, rate_hz)


def ids(frame: Sequence[TrackedFace]) -> list[int]:
    return [face.track for face in frame]


# --- Ids, with scripted detections ---------------------------------------------------------------


def test_ids_count_up_in_order_of_appearance() -> None:
    one, two, three = face_at(10, 10), face_at(100, 10), face_at(200, 10)
    found = follow_script([[two], [two, one], [three, one, two]])
    assert [ids(frame) for frame in found] == [[0], [0, 1], [0, 1, 2]]
    assert [face.box.x1 for face in found[-1]] == pytest.approx([100, 10, 200])


def test_two_faces_that_cross_keep_their_ids() -> None:
    script = []
    for i in range(31):
        right, left = face_at(8 * i, 30), face_at(240 - 8 * i, 40)
        hidden = right.box.iou(left.box) > 0.2  # the one that goes left is behind
        script.append([right] if hidden else [left, right])
    found = follow_script(script)
    going_left, going_right = ids(found[0])
    assert [f.box.x1 > 200 for f in found[0]] == [True, False]
    assert [(f.track, f.box.x1 < 20) for f in found[-1]] == [
        (going_left, True),
        (going_right, False),
    ]
    assert {track for frame in found for track in ids(frame)} == {0, 1}


def test_two_faces_that_cross_behind_something_keep_their_ids() -> None:
    script = []
    for i in range(24):
        right, left = face_at(8 * i, 30), face_at(184 - 8 * i, 30)
        script.append([] if 9 <= i < 15 else [right, left])
    found = follow_script(script)
    assert ids(found[-1]) == [0, 1]
    assert [face.box.x1 for face in found[-1]] == pytest.approx([184, 0], abs=2)


def test_a_false_positive_makes_no_track() -> None:
    sure, chance = face_at(10, 10), face_at(200, 20, score=0.6)
    found = follow_script([[sure], [sure, chance], [sure], [sure], [sure]])
    assert [ids(frame) for frame in found] == [[0]] * 5


def test_two_weak_detections_far_apart_in_time_make_no_track() -> None:
    sure, chance = face_at(10, 10), face_at(200, 20, score=0.6)
    found = follow_script([[sure], [sure, chance], *[[sure]] * 4, [sure, chance], [sure]])
    assert [ids(frame) for frame in found] == [[0]] * 8


def test_two_weak_detections_at_one_place_make_a_track() -> None:
    sure, faint = face_at(10, 10), face_at(200, 20, score=0.6)
    found = follow_script([[sure], [sure, faint], [sure, faint]])
    assert [ids(frame) for frame in found] == [[0], [0], [0, 1]]


def test_two_weak_detections_in_adjacent_frames_of_a_fast_video_count_once() -> None:
    sure, faint = face_at(10, 10), face_at(200, 20, score=0.6)
    found = follow_script([[sure], [sure, faint], [sure, faint], [sure]], rate_hz=60)
    assert [ids(frame) for frame in found] == [[0]] * 4


def test_weak_detections_in_the_only_frame_are_reported() -> None:
    (found,) = follow_script([[face_at(10, 10, score=0.1), face_at(100, 10, score=0.05)]])
    assert ids(found) == [0, 1]


def test_a_weak_detection_in_the_first_frame_is_dropped_unless_confirmed() -> None:
    sure, chance = face_at(10, 10), face_at(200, 20, score=0.6)
    found = follow_script([[sure, chance], *[[sure]] * 5])
    assert ids(found[0]) == [0, 1]
    assert [ids(frame) for frame in found[1:]] == [[0]] * 5


def test_a_false_positive_in_the_first_picture_is_not_followed() -> None:
    still = put(scene(), HEAD, 90, 50)
    chance = Detection(Box(20, 150, 60, 190), 0.6)
    face = Detection(face_box(90, 50), 0.9)
    found = follow(FaceTracker(Scripted([[face, chance], [face], [face]])), [still] * 6)
    assert [ids(frame) for frame in found] == [[0, 1], *[[0]] * 5]


def test_a_face_that_is_not_visible_is_not_reported() -> None:
    found = follow_script([[face_at(10, 10)], [face_at(10, 10)], [], []])
    assert [ids(frame) for frame in found] == [[0], [0], [], []]


@pytest.mark.parametrize(("unseen_s", "track"), [(1.0, 0), (2.5, 1)])
def test_an_id_is_reused_only_within_the_memory(unseen_s: float, track: int) -> None:
    blank = np.full((120, 320, 3), 128, np.uint8)
    face = [face_at(50, 30)]
    tracker = FaceTracker(Scripted([face, face]), memory_s=1.5)
    tracker.update(blank, 0.0)
    assert ids(tracker.update(blank, unseen_s)) == [track]


@pytest.mark.parametrize("rate_hz", [10, 25, 60])
def test_memory_is_in_seconds_at_any_frame_rate(rate_hz: int) -> None:
    face, second = [face_at(50, 30)], rate_hz
    found = follow_script([face] * second + [[]] * second + [face] * second, rate_hz)
    assert {track for frame in found for track in ids(frame)} == {0}
    assert ids(found[-1]) == [0]


def test_a_detection_inside_a_face_makes_no_track() -> None:
    head, chin = face_at(50, 30, side=60), face_at(70, 60, side=20)
    found = follow_script([[head], [head, chin], [head, chin], [head, chin]])
    assert [ids(frame) for frame in found] == [[0]] * 4


def test_whole_frames_are_one_track_across_cuts() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]
    for frame in follow(FaceTracker(WholeFrame()), pictures):
        assert frame == [TrackedFace(0, Box(0, 0, 50, 40), None, 1.0)]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (1, 50), (50, 1), (33, 47)])
def test_tiny_pictures_have_no_faces(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(3)]
    assert follow(FaceTracker(create_detector("haar")), pictures) == [[], [], []]


# --- Following, in pictures --------------------------------------------------------------------

HEAD = skimage.data.astronaut()[20:220, 120:320]
OTHER_HEAD = (HEAD[:, ::-1] * 0.7).astype(np.uint8)


def scene(size_wh: tuple[int, int] = (320, 240)) -> Picture:
    """A plain wall with a little noise."""
    noise = np.random.default_rng(1).normal(150, 6, (size_wh[1], size_wh[0], 1))
    return np.repeat(noise, 3, axis=2).astype(np.uint8)


def put(picture: Picture, head: Picture, x: float, y: float, side: int = 110) -> Picture:
    """The picture with an oval head whose patch's corner is at x, y."""
    size = (picture.shape[1], picture.shape[0])
    move = np.array([[1, 0, x], [0, 1, y]], np.float64)
    small = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
    oval = np.zeros((side, side), np.uint8)
    axes = (int(side * 0.36), int(side * 0.44))
    cv2.ellipse(oval, (side // 2, int(side * 0.48)), axes, 0, 0, 360, 255, -1)
    alpha = cv2.warpAffine(oval, move, size)[..., None] / 255
    return (picture * (1 - alpha) + cv2.warpAffine(small, move, size) * alpha).astype(np.uint8)


def face_box(x: float, y: float, side: int = 110) -> Box:
    """The Haar cascade's box for a head placed there."""
    return Box(x + 0.27 * side, y + 0.22 * side, x + 0.77 * side, y + 0.72 * side)


@pytest.fixture(scope="module")
def haar() -> Counted:
    return Counted()


def test_the_box_follows_the_face(haar: Counted) -> None:
    def place(i: int) -> tuple[float, float]:
        return 100 + 80 * np.sin(i / 4), 60 + 20 * np.cos(i / 3)

    haar.calls = 0
    found = follow(FaceTracker(haar), [put(scene(), HEAD, *place(i)) for i in range(30)])
    for i, frame in enumerate(found):
        assert ids(frame) == [0]
        assert frame[0].box.iou(face_box(*place(i))) > 0.7
        assert frame[0].box.width == pytest.approx(frame[0].box.height)
    assert haar.calls <= 8  # in 3 s


def test_an_accelerating_face_is_followed_without_detection() -> None:
    def place(i: int) -> tuple[float, float]:
        return 20 + 2.5 * i**2, 60  # in the end its own width a frame

    pictures = [put(scene((640, 240)), HEAD, *place(i)) for i in range(14)]
    found = follow(FaceTracker(Scripted([[Detection(face_box(*place(0)), 0.9)]])), pictures)
    for i, frame in enumerate(found):
        assert ids(frame) == [0]
        assert frame[0].box.iou(face_box(*place(i))) > 0.7


@pytest.mark.parametrize("speed", [15, 20, 25])
def test_of_two_identical_faces_the_one_in_front_is_visible(speed: int) -> None:
    def picture(i: int) -> Picture:
        return put(put(scene(), HEAD, 200, 60), HEAD, 200 + speed * (min(i, 9) - 9), 60)

    moving, still = face_box(200 - 9 * speed, 60), face_box(200, 60)
    detector = Scripted([[Detection(moving, 0.9), Detection(still, 0.8)]])
    found = follow(FaceTracker(detector), [picture(i) for i in range(14)])
    assert ids(found[5]) == [0, 1]
    for frame in found[8:]:
        assert ids(frame) == [0]
    assert found[-1][0].box.iou(still) > 0.9


def test_the_box_grows_with_the_face(haar: Counted) -> None:
    def side(i: int) -> int:
        return round(90 * 1.03**i)

    found = follow(FaceTracker(haar), [put(scene(), HEAD, 60, 30, side(i)) for i in range(20)])
    for i, frame in enumerate(found):
        assert ids(frame) == [0]
        assert frame[0].box.iou(face_box(60, 30, side(i))) > 0.7


def test_eyes_move_and_grow_with_the_box() -> None:
    def eyes(i: int) -> tuple[tuple[float, float], tuple[float, float]]:
        return (
            (80 + 5 * i + 0.42 * (100 + 2 * i), 60 + 0.43 * (100 + 2 * i)),
            (80 + 5 * i + 0.62 * (100 + 2 * i), 60 + 0.43 * (100 + 2 * i)),
        )

    pictures = [put(scene(), HEAD, 80 + 5 * i, 60, 100 + 2 * i) for i in range(8)]
    detector = Scripted([[Detection(face_box(80, 60, 100), 0.9, eyes(0))]])
    for i, frame in enumerate(follow(FaceTracker(detector), pictures)):
        assert np.asarray(frame[0].eyes) == pytest.approx(np.asarray(eyes(i)), abs=2.5)


def test_a_still_face_has_a_still_box(haar: Counted) -> None:
    rng = np.random.default_rng(0)
    still = put(scene(), HEAD, 100, 60)
    noisy = [
        np.clip(still + rng.normal(0, 4, still.shape), 0, 255).astype(np.uint8) for _ in range(20)
    ]
    boxes = np.array([frame[0].box for frame in follow(FaceTracker(haar), noisy)])
    assert np.abs(np.diff(boxes, axis=0)).mean() < 0.02 * 55


@pytest.mark.parametrize("covered", [(slice(50, 190), slice(90, 220)), (slice(None), slice(None))])
def test_an_id_survives_an_occlusion(haar: Counted, covered: tuple[slice, slice]) -> None:
    def picture(i: int) -> Picture:
        rgb = put(scene(), HEAD, 60 + 4 * i, 60)
        if 10 <= i < 16:
            rgb[covered] = 90
        return rgb

    found = follow(FaceTracker(haar), map(picture, range(24)))
    assert all(ids(frame) == [] for frame in found[10:16])
    assert all(ids(frame) == [0] for frame in found[:10] + found[18:])
    assert found[20][0].box.iou(face_box(60 + 80, 60)) > 0.7


@pytest.mark.parametrize(("rate_hz", "speed"), [(10, 70), (25, 50)])
def test_two_faces_that_cross_in_pictures_keep_their_ids(
    haar: Counted, rate_hz: int, speed: float
) -> None:
    def picture(i: int) -> Picture:
        x = speed * i / rate_hz
        return put(put(scene(), OTHER_HEAD, 200 - x, 64), HEAD, x - 10, 60)

    frames = int(200 / speed * rate_hz)
    found = follow(FaceTracker(haar, detect_every_s=0.75), map(picture, range(frames)), rate_hz)
    assert {track for frame in found for track in ids(frame)} == {0, 1}
    first = {face.track: face.box.x1 < 100 for face in found[0]}
    last = {face.track: face.box.x1 > 100 for face in found[-1]}
    assert first == last  # the one that started left ends right


def test_a_cut_starts_new_tracks(haar: Counted) -> None:
    other_place = scene() // 3
    other_place[:, 200:] = 200
    before, after = put(scene(), HEAD, 90, 50), put(other_place, OTHER_HEAD, 95, 55)
    found = follow(FaceTracker(haar), [before] * 6 + [after] * 6)
    assert [ids(frame) for frame in found[:6]] == [[0]] * 6
    assert [ids(frame) for frame in found[7:]] == [[1]] * 5


def test_a_flash_is_no_cut(haar: Counted) -> None:
    still = put(scene(), HEAD, 90, 50)
    bright = np.clip(still * 1.1 + 40, 0, 255).astype(np.uint8)
    found = follow(FaceTracker(haar), [still] * 4 + [bright] * 3 + [still] * 4)
    assert [ids(frame) for frame in found] == [[0]] * 11


def test_another_picture_size_starts_new_tracks(haar: Counted) -> None:
    small, large = put(scene(), HEAD, 90, 50), put(scene((400, 300)), OTHER_HEAD, 90, 50)
    found = follow(FaceTracker(haar), [small] * 3 + [large] * 3)
    assert [ids(frame)[-1] for frame in found] == [0, 0, 0, 1, 1, 1]


def test_a_face_is_found_within_three_tenths_of_a_second(haar: Counted) -> None:
    for empty_frames in (5, 6, 7):
        pictures = [scene()] * empty_frames + [put(scene(), HEAD, 90, 50)] * 4
        found = follow(FaceTracker(haar), pictures)
        assert not any(found[:empty_frames])
        assert ids(found[empty_frames + 3]) == [0]


@pytest.mark.parametrize("rate_hz", [10, 30, 60])
def test_detections_are_counted_in_video_time(rate_hz: int) -> None:
    detector = Counted()
    still = put(scene(), HEAD, 90, 50)
    follow(FaceTracker(detector, detect_every_s=0.5), [still] * (2 * rate_hz + 1), rate_hz)
    assert detector.calls in (5, 6)  # at 0, 0.5, 1, 1.5, 2 s, and one to confirm the first


def test_a_face_that_is_no_longer_detected_is_dropped() -> None:
    still = put(scene(), HEAD, 90, 50)
    detector = Scripted([[Detection(face_box(90, 50), 0.9)]])
    found = follow(FaceTracker(detector, memory_s=1.0), [still] * 25)
    assert [bool(frame) for frame in found] == [True] * 11 + [False] * 14


# --- Real clips --------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "end_s"), [("pyfeat_single_face.mp4", None), ("pyfeat_WolfgangLanger_Pexels.mp4", 8.0)]
)
def test_one_person_is_one_track_in_every_frame(
    haar: Counted, name: str, end_s: float | None
) -> None:
    tracker = FaceTracker(haar)
    for frame in read_frames(CLIPS / name, rate_hz=10, end_s=end_s):
        assert ids(tracker.update(frame.rgb, frame.time_s)) == [0]


@pytest.mark.data
def test_no_face_is_reported_before_one_appears(haar: Counted) -> None:
    tracker = FaceTracker(haar)
    frames = read_frames(CLIPS / "pyfeat_noface_face.mov", rate_hz=10)
    found = [(f.index, ids(tracker.update(f.rgb, f.time_s))) for f in frames]
    assert all(seen == [] for index, seen in found if index < 96)
    assert all(seen == [0] for index, seen in found if 96 <= index < 168)
    assert any(index >= 96 for index, _ in found)


# Heads that are tilted (issue 18, kind 12)


def tilted(degrees: float, side: int = 160) -> Picture:
    """The scene with a head that is tilted clockwise about the middle of its face."""
    turn = cv2.getRotationMatrix2D((100, 96), -degrees, 1.0)
    size = (HEAD.shape[1], HEAD.shape[0])
    head = cv2.warpAffine(HEAD, turn, size, borderMode=cv2.BORDER_REPLICATE)
    return put(scene(), head, 60, 30, side)


@pytest.mark.parametrize(
    ("degrees", "side", "roll"),
    [(0, 160, 0), (25, 160, 30), (30, 160, 30), (-30, 160, -30), (-40, 180, -30)],
)
def test_a_tilted_head_is_found_in_the_first_picture_and_tracked(
    degrees: float, side: int, roll: float
) -> None:
    found = follow(FaceTracker(create_detector("haar")), [tilted(degrees, side)] * 20)
    assert [ids(frame) for frame in found] == [[0]] * 20
    for (face,) in (found[0], found[-1]):
        assert face.box.iou(face_box(60, 30, side)) > 0.6
        assert face.roll == roll


def test_a_head_that_tilts_and_comes_back_keeps_its_id() -> None:
    degrees = [*range(0, 41, 2), *[40] * 20, *range(40, -41, -2), *[-40] * 20, *range(-40, 1, 2)]
    found = follow(FaceTracker(create_detector("haar")), map(tilted, degrees))
    assert {track for frame in found for track in ids(frame)} == {0}
    assert sum(map(bool, found)) > 0.95 * len(degrees)
    assert [frame[0].roll for frame in (found[0], found[40], found[-25], found[-1])] == [
        *(0, 30, -30, 0)
    ]


def test_a_tilted_head_beside_an_upright_one_stays_in_sight() -> None:
    def picture(degrees: float) -> Picture:
        return np.hstack([tilted(degrees), tilted(0)[:, ::-1]])

    degrees = [0.0] * 5 + [35.0] * 40
    found = follow(FaceTracker(create_detector("haar")), map(picture, degrees))
    assert all(ids(frame) == [0, 1] for frame in found[-30:])
    assert sorted(face.roll for face in found[-1]) == [0, 30]


def test_an_upright_face_costs_one_detection_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rolls: list[float] = []
    plain = CascadeDetector.detect

    def counted(detector: CascadeDetector, rgb: Picture, roll: float = 0.0) -> list[Detection]:
        rolls.append(roll)
        return plain(detector, rgb, roll)

    monkeypatch.setattr(CascadeDetector, "detect", counted)
    follow(FaceTracker(create_detector("haar")), [tilted(0)] * 30)
    assert rolls == [0.0] * len(rolls)
    rolls.clear()
    follow(FaceTracker(create_detector("haar")), [scene()] * 9)
    assert rolls == [0, 30, -30, 0, 0, 30, 0, 0, -30]


@pytest.mark.parametrize("name", ["brick", "gravel", "coffee", "chelsea", "coins"])
def test_textures_and_objects_are_not_tilted_faces(name: str) -> None:
    """In the first picture, which may be the only one."""
    picture = np.asarray(getattr(skimage.data, name)())
    rgb = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    assert [face for face in FaceTracker(create_detector("haar")).update(rgb, 0) if face.roll] == []
