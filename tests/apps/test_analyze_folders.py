"""Folders and pictures given to `emoscope analyze` (kinds: unrelated photos read as a film; files
skipped without a word)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import lines
from making import (
    grey_of,
    grey_picture,
    make_animation,
    make_image,
    make_image_folder,
    make_sound,
    make_text,
    make_video,
)
from tiny_bundles import answer

from emoscope.analysis.analyzer import Analyzer
from emoscope.core.errors import MediaError

Analyze = Callable[..., Any]  # -> the runner's result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture
def timelines(analyze: Analyze) -> Callable[..., dict[str, Any]]:
    """Analyse every frame and return {path: Timeline as JSON}, and the printed lines as ""."""

    def run(*words: object) -> dict[str, Any]:
        ran = analyze(*words, "--json", "--rate", "native", "--smooth", "0")
        assert ran.exit_code == 0, ran.stderr
        parts = [json.loads(line) for line in lines(ran.stdout)]
        return {part["provenance"]["path"]: part for part in parts} | {"": lines(ran.stderr)}

    return run


def test_unrelated_pictures_are_read_one_by_one(
    timelines: Callable[..., Any], folder: Path
) -> None:
    greys = {"anna.jpg": 1, "ben.png": 12, "DSC_0041.jpg": 20, "DSC_0077.jpg": 3}
    for name, grey in greys.items():
        make_image(folder / name, grey_picture(grey))
    results = timelines(folder)
    printed = results.pop("")
    assert printed[0] == f"{folder}: 4 pictures, read one by one"
    assert len(printed) == 5
    assert list(results) == [str(folder / name) for name in sorted(greys)]
    for name, grey in greys.items():
        (row,) = results[str(folder / name)]["rows"]
        probs = list(row["probabilities"].values())
        assert probs == pytest.approx(answer(grey_of(grey) / 255), abs=0.02)


def test_numbered_images_are_read_as_a_film(timelines: Callable[..., Any], tmp_path: Path) -> None:
    images = make_image_folder(tmp_path / "take", num_images=12)
    results = timelines(images)
    assert results[""][0] == f"{images}: 12 numbered images, read as a film at 25 fps"
    assert len(results[str(images)]["rows"]) == 12


def test_pictures_beside_films_are_analysed(timelines: Callable[..., Any], folder: Path) -> None:
    make_video(folder / "b.mp4", num_frames=2)
    make_image(folder / "a.png")
    make_image(folder / "c.png")
    make_animation(folder / "d.webp", [40, 40, 40])
    make_animation(folder / "e.png", [40, 40, 40, 40])
    make_sound(folder / "f.mp3", codec="mp3", seconds=0.2)
    make_text(folder / "notes.txt")
    for name in ("g.HEIC", "h.heic"):
        (folder / name).touch()
    results = timelines(folder)
    printed = results.pop("")
    assert printed[0] == f"{folder}: 2 pictures, read one by one"
    assert printed[-2:] == [
        f"{folder}: 1 sound file left out: tiny needs a picture",
        f"{folder}: 2 pictures left out: .heic cannot be read; convert to JPEG",
    ]
    counts = {Path(path).name: len(part["rows"]) for path, part in results.items()}
    assert counts == {"a.png": 1, "b.mp4": 2, "c.png": 1, "d.webp": 3, "e.png": 4}


def test_a_numbered_film_beside_a_film_is_analysed_too(
    timelines: Callable[..., Any], tmp_path: Path
) -> None:
    images = make_image_folder(tmp_path / "take", num_images=3)
    make_video(images / "talk.mp4", num_frames=2)
    results = timelines(images)
    results.pop("")
    rows = {Path(path).name: len(part["rows"]) for path, part in results.items()}
    assert rows == {"talk.mp4": 2, "take": 3}


def test_subfolders_and_links_are_followed_once(
    timelines: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "deeper").mkdir()
    film = make_video(elsewhere / "linked.mp4", num_frames=2)
    make_video(folder / "deeper" / "own.mp4", num_frames=2)
    (folder / "a_file.mp4").symlink_to(film)
    (folder / "b_folder").symlink_to(elsewhere)
    (folder / "c_again").symlink_to(elsewhere)
    (folder / "deeper" / "loop").symlink_to(folder)
    (folder / ".hidden").mkdir()
    make_video(folder / ".hidden" / "x.mp4", num_frames=2)
    results = timelines(folder)
    results.pop("")
    names = [str(Path(path).relative_to(folder)) for path in results]
    assert names == ["a_file.mp4", "b_folder/linked.mp4", "deeper/own.mp4"]


def test_pictures_beside_sounds_are_counted(
    analyze: Analyze, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Analyzer, "looks", False)
    make_sound(folder / "a.mp3", codec="mp3", seconds=0.2)
    for name in ("b.png", "c.png"):
        make_image(folder / name)
    printed = lines(analyze(folder).stderr)
    assert f"{folder}: 2 pictures left out: tiny needs sound" in printed
    assert not any("b.png" in line for line in printed)


def test_a_broken_link_is_named(analyze: Analyze, folder: Path) -> None:
    make_video(folder / "a.mp4", num_frames=2)
    (folder / "b.mp4").symlink_to("gone.mp4")
    ran = analyze(folder)
    assert ran.exit_code == 1
    assert lines(ran.stderr)[-1] == f"emoscope: {folder}/b.mp4: no such file. Check the path."


def test_python_refuses_a_folder_of_separate_pictures(folder: Path, media: Path) -> None:
    analyzer = Analyzer(media / "image.onnx", detector="none", rate_hz=None)
    for name in ("anna.png", "ben.png"):
        make_image(folder / name)
    with pytest.raises(MediaError, match="its 2 pictures are not a numbered sequence of one size"):
        analyzer.analyze(folder)
    (folder / "anna.png").rename(folder / "0.png")
    (folder / "ben.png").rename(folder / "1.png")
    assert len(analyzer.analyze(folder)) == 2
