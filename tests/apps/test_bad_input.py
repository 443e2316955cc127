"""Bad inputs: one line with the file and the reason, or a correct result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import assert_one_line, names
from making import (
    corner_picture,
    grey_of,
    grey_picture,
    make_image,
    make_image_folder,
    make_sound,
    make_text,
    make_truncated,
    make_video,
    number_in,
)
from tiny_bundles import answer

from emoscope.media.video import probe, read_frames

LOSSLESS = {"qp": "0"}
Report = Callable[..., Any]  # -> the runner's result


def rows(ran: Any) -> list[Any]:
    """The rows on standard output, after a run without errors."""
    assert ran.exit_code == 0, ran.stderr
    assert "emoscope: " not in ran.stderr
    return json.loads(ran.stdout)["rows"]


def probs(read_rows: list[Any]) -> np.ndarray:
    return np.array([list(row["probabilities"].values()) for row in read_rows])


def answers(*indices: int) -> Any:
    return pytest.approx(np.array([answer(grey_of(i) / 255) for i in indices]), abs=0.02)


# Unreadable files


def empty(path: Path) -> Path:
    path.touch()
    return path


def cut_before_its_index(path: Path) -> Path:
    """An MP4 has its index at the end."""
    return make_truncated(make_video(path.with_suffix(".whole.mp4")), path, 0.3)


def cut_within_its_index(path: Path) -> Path:
    return make_truncated(make_video(path.with_suffix(".whole.mp4")), path, 0.6)


def cut_in_its_first_bytes(path: Path) -> Path:
    return make_truncated(make_video(path.with_suffix(".whole.mp4")), path, 0.01)


def folder_without_media(path: Path) -> Path:
    path.mkdir()
    make_text(path / "notes.txt")
    return path


def empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def broken_image(path: Path) -> Path:
    return make_truncated(make_image(path.with_name("whole.png")), path)


UNREADABLE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("missing.mp4", lambda path: None, "no such file"),
    ("missing/folder/film.mp4", lambda path: None, "no such file"),
    ("x" * 300 + ".mp4", lambda path: None, "File name too long"),
    ("empty.mp4", empty, "the file is empty"),
    ("cut.mp4", cut_before_its_index, "cut off before its index"),
    ("cut.mp4", cut_within_its_index, ""),
    ("cut.mp4", cut_in_its_first_bytes, "cut off before its index"),
    ("text.mp4", make_text, "not a video"),
    ("text.txt", make_text, "this is text"),
    ("sound.mp4", make_sound, "sound but no picture"),
    ("sound.wav", lambda path: make_sound(path, codec="pcm_s16le"), "sound but no picture"),
    ("zero.mp4", lambda path: make_video(path, num_frames=0), ""),
    ("zero.avi", lambda path: make_video(path, num_frames=0), "no frame can be decoded"),
    ("zero.mkv", lambda path: make_video(path, num_frames=0), ""),
    ("empty.png", empty, "the file is empty"),
    ("text.jpg", make_text, "not an image"),
    ("cut.png", broken_image, "not an image, or cut off"),
    ("nothing", empty_folder, "the folder has no videos or images"),
    ("notes", folder_without_media, "the folder has no videos or images"),
]


@pytest.mark.parametrize(
    ("name", "make", "reason"), UNREADABLE, ids=[f"{n[:20]}-{r}" for n, _, r in UNREADABLE]
)
def test_an_unreadable_file_is_one_line_and_leaves_no_output(
    report: Report,
    tmp_path: Path,
    out: Path,
    name: str,
    make: Callable[[Path], Any],
    reason: str,
) -> None:
    make(tmp_path / name)
    assert_one_line(report(tmp_path / name), tmp_path / name, reason)
    assert not out.exists()


def test_a_folder_of_videos_names_each_unreadable_one(
    report: Report, tmp_path: Path, out: Path
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    make_text(folder / "a.mp4")
    make_video(folder / "b.mp4", num_frames=2)
    make_sound(folder / "c.mp4", seconds=0.1)
    ran = report(folder, formats="json")
    assert ran.exit_code == 1
    bad = [line for line in ran.stderr.splitlines() if line.startswith("emoscope: ")]
    assert [line.split(": ")[1] for line in bad] == [str(folder / "a.mp4"), str(folder / "c.mp4")]
    assert names(out) == ["b.json"]


# What can be read, odd as it is


def test_a_truncated_video_gives_the_rows_that_are_there(
    report: Report, tmp_path: Path, out: Path
) -> None:
    whole = make_video(tmp_path / "whole.mkv", num_frames=40, options={"qp": "0", "g": "5"})
    read_rows = rows(report(make_truncated(whole, tmp_path / "cut.mkv", 0.6)))
    assert 10 <= len(read_rows) < 35
    assert probs(read_rows) == answers(*range(len(read_rows)))
    assert read_rows[-1]["end_s"] == pytest.approx(len(read_rows) / 25, abs=0.002)
    assert len(list(read_frames(out / "cut.annotated.mp4"))) == len(read_rows)


def test_a_video_of_one_frame_is_one_row(report: Report, tmp_path: Path, out: Path) -> None:
    path = make_video(tmp_path / "one.mp4", num_frames=1, picture=lambda _: grey_picture(12))
    (row,) = read_rows = rows(report(path))
    assert (row["start_s"], row["end_s"]) == pytest.approx((0, 0.04))
    assert probs(read_rows) == answers(12)
    assert len(names(out)) == 5


@pytest.mark.parametrize(("width", "height"), [(63, 47), (16, 16), (17, 3), (2, 2), (1, 1)])
def test_small_and_odd_sizes_are_analysed(
    report: Report, tmp_path: Path, out: Path, width: int, height: int
) -> None:
    path = make_video(
        tmp_path / "odd.mkv", num_frames=3, size_wh=(width, height), codec="ffv1", pix_fmt="bgr0"
    )
    read_rows = rows(report(path))
    assert probs(read_rows) == answers(0, 1, 2)
    assert read_rows[0]["box_xyxy"] == [0, 0, width, height]
    drawn = next(read_frames(out / "odd.annotated.mp4")).rgb
    assert drawn.shape == (height + height % 2, width + width % 2, 3)


@pytest.mark.parametrize("detector", ["haar", "none"])
def test_boxes_of_an_8k_video_are_in_its_own_pixels(
    report: Report, tmp_path: Path, detector: str
) -> None:
    path = make_video(
        tmp_path / "8k.mp4",
        num_frames=1,
        size_wh=(7680, 4320),
        picture=lambda _: np.full((4320, 7680, 3), grey_of(12), np.uint8),
        options={"preset": "ultrafast"},
    )
    (row,) = rows(report(path, "--detector", detector, formats="json"))
    if detector == "none":
        assert row["box_xyxy"] == [0, 0, 7680, 4320]
        assert probs([row]) == answers(12)
    else:
        assert (row["track"], row["probabilities"]) == (None, None)


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p", "yuv444p"])
def test_pixel_formats_do_not_matter(report: Report, tmp_path: Path, pix_fmt: str) -> None:
    path = make_video(tmp_path / "deep.mp4", num_frames=6, pix_fmt=pix_fmt, options=LOSSLESS)
    assert probs(rows(report(path))) == answers(*range(6))


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotated_video_is_read_and_drawn_as_displayed(
    report: Report, tmp_path: Path, out: Path, rotation: int
) -> None:
    path = make_video(
        tmp_path / "turned.mp4", num_frames=2, rotation=rotation, picture=lambda _: corner_picture()
    )
    width, height = (64, 48) if rotation == 180 else (48, 64)
    assert rows(report(path))[0]["box_xyxy"] == [0, 0, width, height]
    drawn = probe(out / "turned.annotated.mp4")
    assert (drawn.width, drawn.height) == (width, height)
    # The red quarter, top left as it is stored, has gone where a player shows it; the box's
    # frame and its title lie over the edges.
    shown = next(read_frames(path)).rgb
    kept = next(read_frames(out / "turned.annotated.mp4")).rgb
    inside = np.s_[height * 5 // 8 : height * 6 // 8, width * 5 // 8 : width * 6 // 8]
    assert kept[inside].mean(axis=(0, 1)) == pytest.approx(shown[inside].mean(axis=(0, 1)), abs=12)


def test_a_variable_rate_keeps_its_times(report: Report, tmp_path: Path, out: Path) -> None:
    times_s = [0.0, 0.04, 0.3, 0.31, 2.0]
    path = make_video(tmp_path / "vfr.mp4", times_s=times_s, options=LOSSLESS)
    read_rows = rows(report(path))
    assert [row["start_s"] for row in read_rows] == pytest.approx(times_s)
    assert [row["end_s"] for row in read_rows] == pytest.approx([*times_s[1:], 2.04])
    assert probs(read_rows) == answers(*range(5))
    drawn = [frame.time_s for frame in read_frames(out / "vfr.annotated.mp4")]
    assert drawn == pytest.approx(times_s, abs=1e-4)


@pytest.mark.parametrize("sound_s", [0.0, 0.4])
def test_the_annotated_film_has_sound_if_there_was_any(
    report: Report, tmp_path: Path, out: Path, sound_s: float
) -> None:
    path = make_video(tmp_path / "film.mp4", sound_s=sound_s)
    rows(report(path))
    assert probe(out / "film.annotated.mp4").has_sound == bool(sound_s)


def test_an_image_and_a_folder_of_images_have_all_reports(
    report: Report, tmp_path: Path, out: Path
) -> None:
    image = make_image(tmp_path / "face.png", grey_picture(12))
    assert probs(rows(report(image))) == answers(12)
    folder = make_image_folder(tmp_path / "take", num_images=3)
    assert probs(rows(report(folder))) == answers(0, 1, 2)
    assert len(names(out)) == 10
    shown = [number_in(frame.rgb) for frame in read_frames(out / "take.annotated.mp4")]
    assert len(shown) == 3
