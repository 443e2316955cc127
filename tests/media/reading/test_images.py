from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from making import (
    corner_picture,
    grey_picture,
    make_animation,
    make_image,
    make_image_folder,
    make_text,
    with_exif_orientation,
)

from emoscope.core.errors import MediaError
from emoscope.media.reading.images import (
    film_images,
    is_animated,
    is_film,
    numbered_images,
    read_image,
)
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


# Films and separate pictures (kind: a folder of unrelated photos is read as a film)


@pytest.mark.parametrize(
    "names",
    [
        ["img_0001.png", "img_0002.png", "img_0003.png"],
        ["1.jpg", "2.jpg"],
        ["9.jpg", "10.jpg", "11.JPG"],
        ["take2_f005.png", "take2_f010.png", "take2_f015.png"],
        ["S005_001_00000001.png", "S005_001_00000002.png"],
        [f"{i:03}.png" for i in range(30) if i not in (7, 20)],
    ],
)
def test_names_that_count_are_a_film(tmp_path: Path, names: Sequence[str]) -> None:
    images = [make_image(tmp_path / name) for name in names]
    assert is_film(images)
    assert sorted(film_images(tmp_path)) == sorted(images)


@pytest.mark.parametrize(
    "names",
    [
        ["anna.jpg", "ben.jpg", "carl.jpg"],
        ["DSC_0012.jpg", "DSC_0019.jpg", "DSC_0157.jpg"],
        ["DSC_0012.jpg", "DSC_0019.jpg"],
        ["20240105_101112.jpg", "20240106_093001.jpg", "20240107_120000.jpg"],
        ["left1.png", "right1.png", "left2.png", "right2.png"],
        ["1.jpg", "2.png"],
        ["1.png", "01.png", "2.png"],
        ["1.png", "2.png", "cover.png"],
        ["1_1.png", "1_2.png", "2_1.png", "2_2.png"],
    ],
)
def test_names_that_do_not_count_are_separate_pictures(
    tmp_path: Path, names: Sequence[str]
) -> None:
    images = [make_image(tmp_path / name) for name in names]
    assert not is_film(images)
    assert len(numbered_images(tmp_path)) == len(names)  # a corpus knows its own layout
    with pytest.raises(MediaError, match=f"its {len(names)} pictures are not a numbered sequence"):
        film_images(tmp_path)


def test_images_of_several_sizes_are_separate_pictures(tmp_path: Path) -> None:
    images = [make_image(tmp_path / f"{i}.png", grey_picture(i, (160, 120))) for i in range(9)]
    assert is_film(images)
    make_image(images[-1], grey_picture(8, (120, 160)))
    assert not is_film(images)


def test_a_damaged_image_in_a_film_is_not_a_size(tmp_path: Path) -> None:
    images = [make_image(tmp_path / f"{i}.png") for i in range(4)]
    make_text(images[2])
    assert is_film(images)


def test_one_image_is_not_a_film_but_can_be_read_like_one(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1.png")
    assert not is_film([image])
    assert film_images(tmp_path) == [image]


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animated_images_are_told_from_still_ones(tmp_path: Path, suffix: str) -> None:
    animated = [make_animation(tmp_path / f"{i}{suffix}", [40, 40]) for i in range(3)]
    assert all(map(is_animated, animated))
    assert not is_film(animated)
    assert not is_animated(make_image(tmp_path / f"still{suffix}"))
    assert not is_animated(make_text(tmp_path / f"text{suffix}"))
    assert not is_animated(tmp_path / f"missing{suffix}")
