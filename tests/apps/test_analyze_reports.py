"""Reports and notes of `emoscope analyze` (kinds: reports replaced in silence; notes not shown)."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import lines, names
from making import make_image_folder

from emoscope.analysis.analyzer import Analyzer
from emoscope.core.results import Timeline

Analyze = Callable[..., Any]  # -> the runner's result


@pytest.fixture
def clips(media: Path, tmp_path: Path) -> Path:
    """A folder with clip.mp4 and clip.mov, two recordings."""
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(media / "dark.mp4", folder / "clip.mp4")
    shutil.copy(media / "bright.mp4", folder / "clip.mov")
    return folder


def inputs(out: Path) -> dict[str, tuple[str, str]]:
    """{report: (recording, model)} of the JSON files in a folder."""
    provenances = {
        path.name: json.loads(path.read_text())["provenance"] for path in out.glob("*.json")
    }
    return {name: (Path(p["path"]).name, p["model"]) for name, p in provenances.items()}


def test_two_calls_keep_the_reports_of_both_recordings(
    analyze: Analyze, clips: Path, out: Path
) -> None:
    expected = {"clip.json": ("clip.mp4", "tiny"), "clip_mov.json": ("clip.mov", "tiny")}
    for _ in range(2):
        assert len(lines(analyze(clips / "clip.mp4", "--out", out).stderr)) == 1
        printed = lines(analyze(clips / "clip.mov", "--out", out).stderr)
        assert printed[1:] == [
            f"{clips}/clip.mov: note: its reports are named clip_mov: clip is taken by another "
            "recording, model or file"
        ]
        assert inputs(out) == expected
    assert len(names(out)) == 6


def test_two_models_keep_the_reports_of_both(
    analyze: Analyze, clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert analyze(clips / "clip.mp4", "--out", out).exit_code == 0
    monkeypatch.setattr(Analyzer, "analyze", by_another_model(Analyzer.analyze))
    assert analyze(clips / "clip.mp4", "--out", out).exit_code == 0
    assert inputs(out) == {
        "clip.json": ("clip.mp4", "tiny"),
        "clip_other.json": ("clip.mp4", "other"),
    }


def by_another_model(usual: Callable[..., Timeline]) -> Callable[..., Timeline]:
    def analyze(*words: Any, **options: Any) -> Timeline:
        timeline = usual(*words, **options)
        return replace(timeline, provenance=replace(timeline.provenance, model="other"))

    return analyze


@pytest.mark.parametrize("name", ["...", ". .", "..mp4", ".film.mp4"])
def test_reports_are_never_hidden(
    analyze: Analyze, media: Path, out: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(media / "dark.mp4", tmp_path / name)
    assert analyze(tmp_path / name, "--out", out, "--format", "json").exit_code == 0
    assert names(out) == ["film.json" if "film" in name else "timeline.json"]


def test_a_folder_given_as_dots_has_reports_named_after_it(
    analyze: Analyze, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = make_image_folder(tmp_path / "take", num_images=2)
    (take / "deeper").mkdir()
    for place, word in ((take, "."), (take / "deeper", "..")):
        monkeypatch.chdir(place)
        assert analyze(word, "--out", out / place.name, "--format", "json").exit_code == 0
        assert names(out / place.name) == ["take.json"]


def test_any_note_reaches_console_page_and_files(
    analyze: Analyze, media: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    notes = ("It ends at 0.5 of 9.0 s [bold]:smile:.", "Another note.")
    usual = Analyzer.analyze

    def noted(*words: Any, **options: Any) -> Timeline:
        timeline = usual(*words, **options)
        return replace(timeline, provenance=replace(timeline.provenance, notes=notes))

    monkeypatch.setattr(Analyzer, "analyze", noted)
    path = media / "dark.mp4"
    ran = analyze(path, "--json", "--out", out, "--format", "json,csv,html,parquet")
    result, *noted_lines = lines(ran.stderr)
    assert result.startswith(f"{path}: 1 face")
    assert noted_lines == [f"{path}: note: {note}" for note in notes]
    assert json.loads(ran.stdout)["provenance"]["notes"] == list(notes)
    assert json.loads((out / "dark.json").read_text())["provenance"]["notes"] == list(notes)
    metadata = pq.read_schema(out / "dark.parquet").metadata[b"emoscope"]
    assert json.loads(metadata)["provenance"]["notes"] == list(notes)
    page = (out / "dark.html").read_text()
    assert all(f"<li>{note}</li>" in page for note in notes)


def test_quiet_prints_no_note(analyze: Analyze, media: Path) -> None:
    ran = analyze(media / "dark.mp4", "--model", media / "clip.onnx", "--quiet")
    assert (ran.exit_code, ran.stderr) == (0, "")


def test_the_table_names_recording_and_model(analyze: Analyze, media: Path, out: Path) -> None:
    analyze(media / "dark.mp4", "--out", out, "--format", "csv")
    with (out / "dark.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["input"], row["model"]) for row in rows} == {(str(media / "dark.mp4"), "tiny")}
