"""Sizes and ends of still images, as their headers tell."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from making import corner_picture, make_animation, make_image

from emoscope.core.errors import MediaError
from emoscope.media.reading.headers import is_cut_off, picture_size
from emoscope.media.reading.images import read_image

SUFFIXES = ["png", "jpg", "bmp", "webp", "tiff"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size_hw", [(48, 64), (1, 300), (257, 3)])
def test_the_size_is_that_of_the_decoded_picture(
    tmp_path: Path, suffix: str, size_hw: tuple[int, int]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    data = make_image(tmp_path / f"a.{suffix}", picture).read_bytes()
    assert picture_size(data) == size_hw[::-1]
    assert not is_cut_off(data)


def test_lossy_and_animated_webp_state_their_size(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    cv2.imwrite(str(path), corner_picture(), [cv2.IMWRITE_WEBP_QUALITY, 50])
    assert path.read_bytes()[12:16] == b"VP8 "
    assert picture_size(path.read_bytes()) == (64, 48)
    animated = make_animation(tmp_path / "b.webp", [40, 40])
    assert picture_size(animated.read_bytes()) == probe_size(animated)


def probe_size(path: Path) -> tuple[int, int]:
    _, animation = cv2.imreadanimation(str(path))
    height, width = animation.frames[0].shape[:2]
    return width, height


def test_other_data_has_no_size() -> None:
    for data in (b"", b"text", b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"II*\0\xff\xff\xff\xff"):
        assert picture_size(data) is None


# Kind: a picture that is cut off decodes without an error, with grey for what is missing.


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    path = make_image(tmp_path / f"a.{suffix}", picture)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MediaError, match="cut off"):
        read_image(path)


@pytest.mark.parametrize(
    "options",
    [
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
        [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    ],
)
def test_every_kind_of_jpeg_is_complete_with_its_end_only(
    tmp_path: Path, options: list[int]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), picture, options)
    data = path.read_bytes()
    assert not is_cut_off(data)
    assert not is_cut_off(data + b"further data \xff\xd8\xff\xda of a phone")
    for length in range(2, len(data) - 1, 97):
        assert is_cut_off(data[:length])


def test_a_jpeg_that_another_one_interrupts_is_cut_off(tmp_path: Path) -> None:
    """The end of the second picture is not that of the first."""
    picture = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    data = make_image(tmp_path / "a.jpg", picture).read_bytes()
    assert not is_cut_off(data + data)
    assert is_cut_off(data[: len(data) // 2] + data)


def test_a_thumbnail_is_not_another_picture(tmp_path: Path) -> None:
    data = make_image(tmp_path / "a.jpg").read_bytes()
    segment = b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data
    assert not is_cut_off(data[:2] + segment + data[2:])
    assert picture_size(data[:2] + segment + data[2:]) == (64, 48)
