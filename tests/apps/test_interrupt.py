"""Ctrl-C: one line, exit code 130, nothing half-written."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import lines, names
from making import make_video

from emoscope.analysis.bundle import Bundle
from emoscope.reports import formats

Analyze = Callable[..., Any]  # -> the runner's result


def test_an_interrupt_during_the_analysis_is_one_line_and_130(
    analyze: Analyze, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, calls = Bundle.predict, []

    def interrupted(self: Bundle, *args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(self, *args, **options)

    monkeypatch.setattr(Bundle, "predict", interrupted)
    ran = analyze(media / "dark.mp4", media / "bright.mp4", "--out", tmp_path)
    assert ran.exit_code == 130
    assert lines(ran.stderr)[1:] == ["emoscope: interrupted; nothing half-written."]
    assert names(tmp_path) == ["dark.csv", "dark.html", "dark.json"]


@pytest.mark.parametrize("kind", ["json", "csv", "html", "mp4", "parquet"])
def test_an_interrupt_while_writing_leaves_no_part_of_a_file(
    analyze: Analyze, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    entry = formats.FORMATS[kind]

    def interrupted(timeline: Any, path: Path, video: Path | None) -> None:
        entry.write(timeline, path, video)
        raise KeyboardInterrupt

    monkeypatch.setitem(formats.FORMATS._entries, kind, replace(entry, write=interrupted))
    ran = analyze(media / "dark.mp4", "--out", tmp_path, "--format", kind)
    assert ran.exit_code == 130
    assert lines(ran.stderr) == ["emoscope: interrupted; nothing half-written."]
    assert names(tmp_path) == []


SLOW_PREDICT = """
import signal, sys, time
from emoscope.analysis.bundle import Bundle
from emoscope.apps.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the shell has it ignored
predict = Bundle.predict
def slow(self, *args, **options):
    sys.stdout.write(".\\n")
    sys.stdout.flush()
    time.sleep(0.2)
    return predict(self, *args, **options)
Bundle.predict = slow
main()
"""


def test_ctrl_c_ends_a_real_run_with_one_line_and_130(media: Path, tmp_path: Path) -> None:
    film = make_video(tmp_path / "long.mp4", num_frames=250, size_wh=(16, 16))
    words = [film, "--model", media / "image.onnx", "--detector", "none", "--out", tmp_path / "out"]
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW_PREDICT, "analyze", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == ".\n"
    run.send_signal(signal.SIGINT)
    _, message = run.communicate(timeout=30)
    assert run.returncode == 130
    assert lines(message) == ["emoscope: interrupted; nothing half-written."]
    assert not (tmp_path / "out").exists()
