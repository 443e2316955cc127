import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from emoscope.core.errors import MediaError, UnknownName
from emoscope.core.results import Box
from emoscope.media.detectors import DETECTORS, cascades, create_detector
from emoscope.media.detectors.base import Detection
from emoscope.media.detectors.cascades import CascadeDetector
from emoscope.media.people.crops import crop_face

SHARED = Path(__file__).parents[4] / "shared"
YUNET = SHARED / "models" / "face_detection_yunet_2026may.onnx"
ASTRONAUT_FACE = Box(174, 64, 276, 166)  # brows to chin, cheek to cheek
LBP_IS_INSTALLED = any(
    (f / "lbpcascade_frontalface_improved.xml").is_file() for f in cascades._lbp_folders()
)

needs_lbp = pytest.mark.skipif(not LBP_IS_INSTALLED, reason="opencv-data is not installed")
REAL_DETECTORS = [
    "haar",
    pytest.param("lbp", marks=needs_lbp),
    pytest.param(f"yunet={YUNET}", marks=pytest.mark.data, id="yunet"),
]


def the_face(choice: str, rgb: NDArray[np.uint8]) -> Detection:
    (face,) = create_detector(choice).detect(rgb)
    return face


@pytest.mark.parametrize("degrees", [30, -30])
@pytest.mark.parametrize("choice", ["haar", pytest.param("lbp", marks=needs_lbp)])
def test_a_cascade_finds_tilted_heads_in_the_turned_picture(choice: str, degrees: float) -> None:
    """Its box is the upright one, moved with the head."""
    rgb = skimage.data.astronaut()
    turn = cv2.getRotationMatrix2D((256, 256), -degrees, 1.0)
    picture = cv2.warpAffine(rgb, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    detector = create_detector(choice)
    assert isinstance(detector, CascadeDetector)
    assert detector.detect(picture) == []
    face = detector.detect(picture, roll=degrees)[0]
    upright = the_face(choice, rgb)
    assert face.box.center == pytest.approx(turn @ (*upright.box.center, 1), abs=6)
    assert face.box.width == pytest.approx(face.box.height)
    assert face.box.width == pytest.approx(upright.box.width, rel=0.15)
    assert face.roll == degrees
    level = crop_face(picture, face.box, roll=degrees)
    assert (
        np.corrcoef(
            level.ravel(), cv2.resize(crop_face(rgb, upright.box), level.shape[:2]).ravel()
        )[0, 1]
        > 0.7
    )


@pytest.mark.parametrize("choice", REAL_DETECTORS)
def test_every_detector_draws_the_same_square_around_a_face(choice: str) -> None:
    face = the_face(choice, skimage.data.astronaut())
    assert face.box.iou(ASTRONAUT_FACE) > 0.8
    assert face.box.width == pytest.approx(face.box.height, rel=0.01)
    assert 0.6 <= face.score <= 1


@needs_lbp
def test_the_tighter_box_of_lbp_is_widened_and_raised() -> None:
    assert the_face("lbp", skimage.data.astronaut()).box == pytest.approx(ASTRONAUT_FACE, abs=4)


@pytest.mark.parametrize("choice", REAL_DETECTORS)
def test_boxes_are_in_pixels_of_the_picture_given(choice: str) -> None:
    picture = cv2.resize(skimage.data.astronaut(), None, fx=3, fy=3)[:1201, :1501]
    assert the_face(choice, picture).box.iou(ASTRONAUT_FACE.scaled(3)) > 0.75


def test_haar_finds_a_face_of_a_thirteenth_of_the_longer_side() -> None:
    small = cv2.resize(skimage.data.astronaut(), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    picture = np.full((360, 640, 3), 128, np.uint8)
    picture[100 : 100 + len(small), 300 : 300 + small.shape[1]] = small
    box = the_face("haar", picture).box
    assert box.width == pytest.approx(640 / 13, rel=0.15)
    assert box.center == pytest.approx((300 + 225 / 2, 100 + 115 / 2), abs=5)


def test_the_face_with_the_highest_score_comes_first() -> None:
    portrait = skimage.data.astronaut()[:256, 100:356]
    tilt = cv2.getRotationMatrix2D((125, 115), 8, 1)
    tilted = cv2.warpAffine(portrait, tilt, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    for order in ([tilted, portrait], [portrait, tilted]):
        first, second = create_detector("haar").detect(np.hstack(order))
        assert first.score > second.score


@pytest.mark.parametrize("choice", REAL_DETECTORS)
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (1, 40), (40, 1), (900, 1), (1, 900), (37, 53)])
def test_a_picture_too_small_for_a_face_has_none(choice: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert create_detector(choice).detect(noise) == []


def test_without_a_detector_the_frame_is_the_face() -> None:
    assert create_detector("none").detect(np.zeros((30, 41, 3), np.uint8)) == [
        Detection(Box(0, 0, 41, 30), 1.0)
    ]


def test_our_detectors_are_registered() -> None:
    assert {"haar", "hog", "lbp", "none", "yunet"} <= set(DETECTORS)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("haar=x.xml", "Detector haar takes no file, got 'x.xml'"),
        ("none=x", "Detector none takes no file"),
        ("hog=x", "Detector hog takes no file"),
        ("lbp=/no/such.xml", "/no/such.xml: cannot be read"),
        ("yunet", "yunet needs a model file. Write yunet=PATH"),
        ("yunet=/no/such.onnx", "/no/such.onnx: cannot be read"),
    ],
)
def test_a_wrong_choice_says_what_to_write(choice: str, message: str) -> None:
    with pytest.raises(MediaError, match=re.escape(message)):
        create_detector(choice)


def test_an_unknown_detector_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'haar'"):
        create_detector("harr")


@pytest.mark.parametrize(
    "text", ["", "hello", "<?xml version='1.0'?><opencv_storage/>", '{"a": 1}']
)
def test_a_file_that_is_not_a_cascade_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cascade.xml"
    path.write_text(text)
    with pytest.raises(MediaError, match=r"cascade\.xml: not a cascade that OpenCV can read"):
        create_detector(f"lbp={path}")


def test_a_cascade_that_loads_empty_is_refused() -> None:
    misspelt = skimage.data.lbp_frontal_face_cascade_filename()
    with pytest.raises(MediaError, match="not a cascade"):
        create_detector(f"lbp={misspelt}")


def test_lbp_is_found_in_the_data_folder_the_user_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(skimage.data.lbp_frontal_face_cascade_filename()).read_text()
    folder = tmp_path / "lbpcascades"
    folder.mkdir()
    repaired = text.replace("featuhreParams", "featureParams")
    (folder / "lbpcascade_frontalface_improved.xml").write_text(repaired)
    monkeypatch.setenv("OPENCV_SAMPLES_DATA_PATH", str(tmp_path))
    assert create_detector("lbp").detect(skimage.data.astronaut())


def test_a_missing_lbp_cascade_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascades, "_lbp_folders", lambda: iter([Path("/no/such/folder")]))
    with pytest.raises(MediaError, match=r"apt install opencv-data.*lbp=PATH"):
        create_detector("lbp")


def test_a_file_that_is_not_onnx_is_refused_by_yunet(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"text renamed to onnx" * 10)
    with pytest.raises(MediaError, match=r"model\.onnx: not a YuNet model that OpenCV .* can run"):
        create_detector(f"yunet={path}")


def test_another_network_is_refused_by_yunet(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    shape = [1, 3, 64, 64]
    picture = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, shape)
    relu = onnx.helper.make_node("Relu", ["input"], ["out"])
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([relu], "g", [picture], [out])), path)
    with pytest.raises(MediaError, match=r"model\.onnx: not a YuNet model"):
        create_detector(f"yunet={path}")


@pytest.mark.data
def test_yunet_detects_nothing_in_strips_of_noise() -> None:
    detector = create_detector(f"yunet={YUNET}")
    rng = np.random.default_rng(1)
    for _ in range(40):
        narrow, long = rng.integers(1, 33), rng.integers(100, 480)
        for size in ((narrow, long), (long, narrow)):
            noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            assert detector.detect(noise) == []


@pytest.mark.data
def test_yunet_returns_the_left_eye_of_the_picture_first() -> None:
    astronaut = skimage.data.astronaut()
    for picture, center_x in ((astronaut, 224), (astronaut[:, ::-1].copy(), 512 - 224)):
        eyes = the_face(f"yunet={YUNET}", picture).eyes
        assert eyes is not None
        (left_x, left_y), (right_x, right_y) = eyes
        assert left_x < center_x < right_x
        assert right_x - left_x == pytest.approx(42, abs=5)
        assert left_y == pytest.approx(107, abs=5)
        assert right_y == pytest.approx(107, abs=5)


def gradient(height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """Every pixel holds its column and row."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = np.meshgrid(np.arange(width), np.arange(height))
    return rgb


def test_a_crop_is_the_pixels_of_the_box() -> None:
    picture = gradient()
    np.testing.assert_array_equal(crop_face(picture, Box(10, 20, 30, 40)), picture[20:40, 10:30])


def test_a_crop_is_square_around_the_middle_of_the_box() -> None:
    picture = gradient()
    crop = crop_face(picture, Box(30, 20, 40, 50))  # 10 wide, 30 high, centre (35, 35)
    np.testing.assert_array_equal(crop, picture[20:50, 20:50])


@pytest.mark.parametrize(
    ("margin", "first", "last"), [(0.25, 15, 45), (-0.25, 25, 35), (0.0, 20, 40)]
)
def test_the_margin_is_a_fraction_of_the_box_on_each_side(
    margin: float, first: int, last: int
) -> None:
    picture = gradient()
    crop = crop_face(picture, Box(20, 20, 40, 40), margin=margin)
    np.testing.assert_array_equal(crop, picture[first:last, first:last])


def test_outside_the_picture_its_edge_is_repeated() -> None:
    picture = gradient(60, 80)
    crop = crop_face(picture, Box(70, -10, 90, 10))
    assert crop.shape == (20, 20, 3)
    np.testing.assert_array_equal(crop[0, :, 0], [*range(70, 80), *[79] * 10])
    np.testing.assert_array_equal(crop[:, 0, 1], [*[0] * 10, *range(10)])


def test_a_crop_is_a_copy() -> None:
    picture = gradient()
    crop = crop_face(picture, Box(10, 20, 30, 40))
    picture[:] = 0
    assert crop.any()


def test_a_box_of_no_size_gives_one_pixel() -> None:
    assert crop_face(gradient(), Box(10, 10, 10, 10)).shape == (1, 1, 3)


@pytest.mark.parametrize("degrees", [-40, -10, 25])
def test_with_eyes_the_crop_is_turned_until_they_are_level(degrees: float) -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    across = 30 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    left, right = np.array([100, 90]) - across, np.array([100, 90]) + across
    for channel, (x, y) in enumerate((left, right)):
        dot = np.zeros((200, 200), np.uint8)
        cv2.circle(dot, (round(x * 16 - 8), round(y * 16 - 8)), 4 * 16, 255, -1, cv2.LINE_AA, 4)
        picture[..., channel] = dot
    crop = crop_face(picture, Box(40, 40, 160, 160), eyes=(tuple(left), tuple(right)))
    assert crop.shape == (120, 120, 3)
    (left_x, left_y), (right_x, right_y) = (middle_of(crop[..., c]) for c in (0, 1))
    assert left_y == pytest.approx(right_y, abs=0.3)
    assert right_x - left_x == pytest.approx(60, abs=0.5)


def test_level_eyes_leave_the_crop_as_it_is() -> None:
    picture = gradient()
    level = ((15.0, 28.0), (25.0, 28.0))
    np.testing.assert_array_equal(
        crop_face(picture, Box(10, 20, 30, 40), eyes=level),
        crop_face(picture, Box(10, 20, 30, 40)),
    )


def middle_of(channel: NDArray[np.uint8]) -> tuple[float, float]:
    rows, columns = np.nonzero(channel > 64)
    return float(columns.mean()), float(rows.mean())
