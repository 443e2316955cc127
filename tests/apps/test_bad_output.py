"""Outputs that cannot be written: one line with file and reason, nothing half-written."""

import builtins
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from asking import assert_one_line, names
from making import (
    make_video,
)

Report = Callable[..., Any]  # -> the runner's result


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_video(tmp_path / "film.mp4", num_frames=3)


def fail_writing(monkeypatch: pytest.MonkeyPatch, out: Path, number: int) -> None:
    """Every file opened for writing below `out` fails when something is written to it."""
    usual = builtins.open

    def failing(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if isinstance(path, str | os.PathLike) and "w" in mode and str(out) in str(path):
            usual(path, mode, *args, **options).close()  # the file is there, and nothing in it
            raise OSError(number, os.strerror(number), str(path))
        return usual(path, mode, *args, **options)

    monkeypatch.setattr(builtins, "open", failing)
    monkeypatch.setattr("io.open", failing)


@pytest.mark.parametrize("kind", ["json", "csv", "html"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    report: Report,
    film: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    fail_writing(monkeypatch, out, errno.ENOSPC)
    ran = report(film, formats=kind)
    assert_one_line(ran, out / f"film.{kind}", "No space left on device")
    assert names(out) == []


@pytest.mark.parametrize("kind", ["json", "csv", "parquet", "html", "mp4"])
def test_a_disk_that_fills_up_at_the_last_moment_leaves_nothing(
    report: Report,
    film: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    replace = Path.replace

    def failing(self: Path, target: Any) -> Path:
        if str(out) in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    suffix = "annotated.mp4" if kind == "mp4" else kind
    ran = report(film, formats=kind)
    assert_one_line(ran, out / f"film.{suffix}", "No space left on device")
    assert names(out) == []


def test_a_report_that_cannot_be_written_keeps_the_old_one(
    report: Report, film: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report(film, formats="json").exit_code == 0
    old = (out / "film.json").read_text()
    fail_writing(monkeypatch, out, errno.ENOSPC)
    assert report(film, "--prior", "train", formats="json").exit_code == 1
    monkeypatch.undo()
    assert (out / "film.json").read_text() == old
    assert names(out) == ["film.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_the_encoder_is_one_line_and_leaves_nothing(
    report: Report, film: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg writes to a device that is always full."""
    usual = av.open

    def onto_full(path: str, mode: str = "r", **options: Any) -> Any:
        return usual("/dev/full" if mode == "w" else path, mode, **options)

    monkeypatch.setattr(av, "open", onto_full)
    ran = report(film, formats="mp4")
    assert_one_line(ran, out / "film.annotated.mp4", "No space left on device")
    assert names(out) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line(film: Path, media: Path) -> None:
    code = "from emoscope.apps.cli import main; main()"
    words = ["analyze", film, "--model", media / "image.onnx", "--json", "--quiet"]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line == "emoscope: Standard output cannot be written: No space left on device."


def test_a_read_only_folder_is_reported_before_the_analysis(
    report: Report, film: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the system's answer is replaced here."""
    out.mkdir()
    access = os.access

    def read_only(path: Any, mode: int) -> bool:
        return access(path, mode) and not (Path(path) == out and mode & os.W_OK)

    monkeypatch.setattr(os, "access", read_only)
    monkeypatch.setattr("emoscope.analysis.bundle_analyzer.read_frames", pytest.fail)
    assert_one_line(report(film), out, "the folder cannot be written to")
    assert names(out) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_turns_out_read_only_is_one_line(
    report: Report, film: Path, out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_writing(monkeypatch, out, number)
    ran = report(film, formats="json")
    assert_one_line(ran, out / "film.json", os.strerror(number))
    assert names(out) == []


def test_an_output_folder_below_a_file_is_one_line(
    analyze: Report, film: Path, tmp_path: Path
) -> None:
    assert_one_line(
        analyze(film, "--out", film / "deeper"), film / "deeper", "the folder cannot be written to"
    )
    assert names(tmp_path) == ["film.mp4"]
