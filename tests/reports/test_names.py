"""Names of reports (kind: an output of another recording or model is replaced in silence)."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emoscope.core.errors import MediaError
from emoscope.core.results import Timeline
from emoscope.reports.formats import FORMATS, ReportFormat, write_report

KINDS = ["json", "csv", "html", "parquet", "mp4"]
COLOURS = [(90, 90, 90)] * 3


@pytest.fixture
def report(
    two_people: Timeline, make_video: Callable[..., Path], tmp_path: Path
) -> Callable[..., str]:
    """Write one report of a recording, which is made if needed, and return the report's name."""
    pytest.importorskip("pyarrow")

    def write(name: str, kind: str, model: str = "face-ferplus", **fields: Any) -> str:
        video = tmp_path / name
        if not video.exists():
            video.parent.mkdir(exist_ok=True)
            make_video(COLOURS, name=name)
        about = {"path": str(video), "model": model, **fields}
        timeline = replace(two_people, provenance=replace(two_people.provenance, **about))
        (path,) = write_report(timeline, tmp_path / "out", [kind], video=video)
        return path.name.removesuffix(FORMATS[kind].suffix)

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_of_the_same_recording_and_model_is_replaced(
    report: Callable[..., str], kind: str
) -> None:
    assert [report("talk.mp4", kind) for _ in range(3)] == ["talk"] * 3
    # Options do not matter.
    assert report("talk.mp4", kind, vote="max-probability", start_s=0.1) == "talk"


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_of_another_recording_is_kept(report: Callable[..., str], kind: str) -> None:
    order = ["talk.mp4", "talk.mov", "a/talk.mp4", "b/talk.mp4"]
    expected = ["talk", "talk_mov", "talk_mp4", "talk-2"]
    assert [report(name, kind) for name in order] == expected
    assert [report(name, kind) for name in order] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_by_another_model_is_kept(report: Callable[..., str], kind: str) -> None:
    assert report("talk.mp4", kind) == "talk"
    assert report("talk.mp4", kind, model="my model/2") == "talk_my_model_2"
    assert report("talk.mp4", kind, model="my model/2") == "talk_my_model_2"
    assert report("talk.mp4", kind) == "talk"


def test_reports_of_different_kinds_are_not_mixed(report: Callable[..., str]) -> None:
    assert report("talk.mp4", "json") == "talk"
    assert report("talk.mov", "csv") == "talk_mov"
    assert report("talk.mp4", "html", model="other") == "talk_other"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_no_report_is_kept(
    report: Callable[..., str], tmp_path: Path, kind: str
) -> None:
    mine = tmp_path / "out" / f"talk{FORMATS[kind].suffix}"
    mine.parent.mkdir()
    for content in (b"", b"mine", b"start_s,end_s\n1,2\n", b'{"path": 1}\n\n\n\xff'):
        mine.write_bytes(content)
        assert report("talk.mp4", kind) == "talk_mp4"
        assert mine.read_bytes() == content


def test_the_same_relative_path_in_another_folder_is_another_recording(
    two_people: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for duration_s in (2.0, 3.0, 2.0):
        provenance = replace(two_people.provenance, path="clip.mp4", duration_s=duration_s)
        timeline = replace(two_people, provenance=provenance)
        names.append(write_report(timeline, tmp_path, ["json"])[0].name)
    assert names == ["clip.json", "clip_mp4.json", "clip.json"]


def test_one_recording_may_be_spelled_in_several_ways(
    two_people: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "link").symlink_to("clips")
    for path in ("clips/x.mp4", "./clips/../clips/x.mp4", str(tmp_path / "link" / "x.mp4")):
        timeline = replace(two_people, provenance=replace(two_people.provenance, path=path))
        assert write_report(timeline, "out", ["csv"]) == [Path("out/x.csv")]


def test_a_path_that_is_not_text_is_recognised(two_people: Timeline, tmp_path: Path) -> None:
    odd = replace(two_people.provenance, path=str(tmp_path / "caf\udce9.mp4"))
    for kind in ("json", "csv", "html"):
        paths = {
            write_report(replace(two_people, provenance=odd), tmp_path / kind, [kind])[0]
            for _ in range(2)
        }
        assert len(paths) == 1


def test_the_video_is_never_replaced(two_people: Timeline, tmp_path: Path) -> None:
    """A file that is given by name may have any suffix."""
    video = tmp_path / "talk.json"
    video.write_bytes(b"a film")
    assert write_report(two_people, tmp_path, ["json"], video=video)[0].name == "talk_json.json"
    with pytest.raises(MediaError, match="would replace the video"):
        write_report(two_people, tmp_path, ["json"], video=video, stem="talk")
    assert video.read_bytes() == b"a film"


def test_a_stem_that_is_given_is_used_as_it_is(two_people: Timeline, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("mine")
    write_report(two_people, tmp_path, ["json"], stem="mine")
    assert json.loads((tmp_path / "mine.json").read_text())["labels"] == list(two_people.labels)


def test_a_kind_that_cannot_be_recognised_is_not_replaced(
    two_people: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(timeline: Timeline, path: Path, video: Path | None) -> None:
        path.write_text(str(len(timeline)))

    monkeypatch.setitem(FORMATS._entries, "count", ReportFormat(".count", write))
    names = [write_report(two_people, tmp_path, ["count"])[0].name for _ in range(3)]
    assert names == ["two.count", "two_mp4.count", "two-2.count"]
