"""`emoscope cache`. Issue 18, kind 17: the cache had no size and could not be cleaned."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from asking import ask, lines
from typer.testing import CliRunner

from emoscope.apps.cache import size_text
from emoscope.apps.cli import app


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two clips, one of them old, features, and files that are not the cache's."""
    folder = tmp_path / "cache"
    for name, size in {
        "clips/ab/ab12.npz": 3_000_000,
        "clips/cd/cd34.npz": 1_500,
        "clips/cd/cd56.json": 80,
        "features/ab/ab99.npy": 500,
        "digests.json": 20,
        "sets/damaged.json": 4,
        "clips/ab/mine.txt": 7,
        "diary.npz": 9,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)
    for title, keys in (("/small: gray 8x8", ["cd34", "gone"]), ("/big: rgb 9x8", ["ab12"])):
        text = json.dumps({"title": title, "keys": keys})
        (folder / "sets" / f"{title[1:4]}.json").write_text(text, encoding="utf-8")
    old_s = time.time() - 10 * 86400
    os.utime(folder / "clips/ab/ab12.npz", (old_s, old_s))
    return folder


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def run(cache: Path, *words: object, **options: Any) -> Any:
    return ask("cache", "--cache", cache, *words, **options)


def test_the_cache_is_shown_by_kind(cache: Path) -> None:
    ran = run(cache)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert lines(ran.stdout) == [
        f"{cache}: 3.0 MB",
        "clips: 2, 3.0 MB",
        "  /big: rgb 9x8: 1, 3.0 MB",
        "  /small: gray 8x8: 1, 1.5 kB",
        "clips that cannot be cut: 1, 80 bytes",
        "features: 1, 500 bytes",
        "digests: 1, 20 bytes",
        "lists: 3, 103 bytes",
    ]


def test_the_folder_comes_from_the_environment_and_may_be_missing(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    ran = ask("cache", env={"EMOSCOPE_CACHE": str(gone)})
    assert lines(ran.stdout) == [f"{gone}: 0 bytes"]
    assert lines(run(gone, "--clear").stdout) == [f"{gone}: nothing to delete"]
    assert not gone.exists()


def test_clearing_leaves_other_files(cache: Path) -> None:
    ran = run(cache, "--clear", "--yes")
    assert lines(ran.stdout) == [f"{cache}: deleted 8 files, 3.0 MB"]
    assert files(cache) == ["clips/ab/mine.txt", "diary.npz"]
    assert not (cache / "clips" / "cd").exists()


def test_only_old_files_are_cleared(cache: Path) -> None:
    assert "deleted 1 files, 3.0 MB" in run(cache, "--clear", "--older-than", 9, "--yes").stdout
    assert "clips/ab/ab12.npz" not in files(cache)
    assert len(files(cache)) == 9


@pytest.mark.parametrize(("answer", "left"), [("y\n", 2), ("n\n", 10), ("", 10)])
def test_clearing_asks_first(cache: Path, answer: str, left: int) -> None:
    words = ["cache", "--cache", str(cache), "--clear"]
    ran = CliRunner().invoke(app, words, input=answer)
    assert f"Delete 8 files (3.0 MB) from {cache}?" in ran.stdout
    assert ran.exit_code == (1 if left == 10 else 0)
    assert len(files(cache)) == left


@pytest.mark.parametrize("words", [["--yes"], ["--older-than", "3"]])
def test_options_of_clear_alone_are_refused(cache: Path, words: list[str]) -> None:
    ran = run(cache, *words)
    assert ran.exit_code == 2
    assert "only with --clear" in ran.stderr
    assert len(files(cache)) == 10


def test_sizes_have_units() -> None:
    texts = [size_text(size) for size in (999, 1000, 6_600_000_000, 2e12, 3e15)]
    assert texts == ["999 bytes", "1.0 kB", "6.6 GB", "2.0 TB", "3000.0 TB"]
