from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from making import corner_picture, make_image, make_image_folder, make_text, with_exif_orientation

from emoscope.core.errors import MediaError
from emoscope.media.reading.images import numbered_images, read_image
from emoscope.media.video import read_frames


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff", ".jpg", ".PNG"])
def test_every_format_gives_the_same_image(tmp_path: Path, suffix: str) -> None:
    rgb = read_image(make_image(tmp_path / f"face{suffix}"))
    assert rgb.dtype == np.uint8
    lossy = 12 if suffix in (".jpg", ".webp") else 0
    for y, x in [(12, 16), (12, 48), (36, 16), (36, 48)]:
        np.testing.assert_allclose(rgb[y, x].astype(int), corner_picture()[y, x], atol=lossy)


def test_grey_deep_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    grey = np.full((4, 5), 90, np.uint8)
    assert (read_image(make_image(tmp_path / "grey.png", grey)) == 90).all()
    deep = np.full((4, 5), 200 * 257, np.uint16)
    assert (read_image(make_image(tmp_path / "deep.png", deep)) == 200).all()
    clear = np.dstack([corner_picture(), np.zeros((48, 64), np.uint8)])
    rgb = read_image(make_image(tmp_path / "clear.png", clear))
    np.testing.assert_array_equal(rgb, corner_picture())


def test_images_are_rotated_as_their_exif_says(tmp_path: Path) -> None:
    path = make_image(tmp_path / "phone.jpg")
    upright = read_image(path)
    turns = {3: (2, False), 6: (-1, False), 8: (1, False), 2: (0, True)}
    for orientation, (quarters, mirrored) in turns.items():
        copy = tmp_path / f"{orientation}.jpg"
        copy.write_bytes(path.read_bytes())
        expected = np.rot90(upright, quarters)
        expected = expected[:, ::-1] if mirrored else expected
        turned = read_image(with_exif_orientation(copy, orientation))
        np.testing.assert_array_equal(turned, expected)


def test_images_are_sorted_by_numbers(tmp_path: Path) -> None:
    names = [
        "a2.png",
        "a10.png",
        "a1.png",
        "B3.png",
        "10.png",
        "9.png",
        "x_001_2.png",
        "x_1_10.png",
    ]
    for name in [*names, "notes.txt", ".a0.png"]:
        (tmp_path / name).touch()
    assert [path.name for path in numbered_images(tmp_path)] == [
        "9.png", "10.png", "a1.png", "a2.png", "a10.png", "B3.png", "x_001_2.png", "x_1_10.png",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
@pytest.mark.parametrize("kind", ["cut", "text", "empty", "absent"])
def test_bad_images_are_refused_in_one_line_without_further_output(
    tmp_path: Path, suffix: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"bad{suffix}"
    if kind == "cut":
        make_image(path, np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "text":
        make_text(path)
    elif kind == "empty":
        path.touch()
    capfd.readouterr()
    with pytest.raises(MediaError, match=r"^[^\n]+bad\.[^\n]+\. [^\n]+\.$"):
        read_image(path)
    assert capfd.readouterr() == ("", "")


def test_opencv_logging_is_restored(tmp_path: Path) -> None:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
    with pytest.raises(MediaError):
        read_image(make_text(tmp_path / "bad.png"))
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_WARNING


def test_opencv_logging_is_restored_after_threads(tmp_path: Path) -> None:
    """Kind 1 of issue 18: a thread that began in another one's silence left it for good."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
    path = make_image(tmp_path / "good.png", np.zeros((200, 200, 3), np.uint8))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read_image(path), range(200)))
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_WARNING


def test_a_bad_image_in_a_folder_is_named(tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "images", num_images=3)
    make_text(folder / "frame2.png")
    frames = read_frames(folder)
    assert next(frames).index == 0
    with pytest.raises(MediaError, match=r"frame2\.png"):
        next(frames)
