import builtins
import csv
import errno
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoscope.core.errors import MediaError, MissingExtra, UnknownName
from emoscope.core.results import Provenance, Timeline
from emoscope.reports import formats
from emoscope.reports.formats import FORMATS, to_deepface, to_pandas, write_report

PY_FEAT_BOX = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
PY_FEAT_EMOTIONS = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_json_is_the_dict_with_summary_and_segments(two_people: Timeline, tmp_path: Path) -> None:
    (path,) = write_report(two_people, tmp_path, ["json"])
    assert path == tmp_path / "two.json"
    found = json.loads(path.read_text(), parse_constant=refuse_constant)
    assert found.pop("format_version") == 1
    assert found.pop("summary") == [asdict(entry) for entry in two_people.summary()]
    assert found.pop("segments") == [asdict(segment) for segment in two_people.segments()]
    assert found == two_people.to_dict()


def test_json_keeps_a_row_a_line_and_no_face_as_null(two_people: Timeline, tmp_path: Path) -> None:
    (path,) = write_report(two_people, tmp_path, ["json"])
    lines = [line for line in path.read_text().splitlines() if '"modalities"' in line]
    assert len(lines) == len(two_people)
    rows = json.loads(path.read_text())["rows"]
    assert [row["probabilities"] is None for row in rows] == (~two_people.seen).tolist()


def test_csv_has_py_feats_columns_and_the_right_numbers(
    two_people: Timeline, tmp_path: Path
) -> None:
    (path,) = write_report(two_people, tmp_path, ["csv"])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(two_people)
    assert set(PY_FEAT_BOX + PY_FEAT_EMOTIONS + ["input"]) <= set(rows[0])
    assert [float(rows[0][name]) for name in PY_FEAT_BOX] == [20, 30, 40, 50]
    for row, probs, leading in zip(rows, two_people.probs, two_people.leading, strict=True):
        assert row["leading"] == leading
        assert row["input"] == "clips/two.mp4"
        if leading:
            written = [float(row[label]) for label in two_people.labels]
            np.testing.assert_allclose(written, probs, atol=1e-6)
    assert [row["padded"] for row in rows] == ["True"] + ["False"] * 9


def test_csv_has_an_empty_row_where_nobody_was_seen(two_people: Timeline, tmp_path: Path) -> None:
    (path,) = write_report(two_people, tmp_path, ["csv"])
    with path.open(newline="") as file:
        row = list(csv.DictReader(file))[2]
    empty = {"track", "leading", "modalities", *PY_FEAT_BOX, *two_people.labels}
    assert {name for name, cell in row.items() if cell == ""} == empty
    assert (row["start_s"], row["end_s"]) == ("0.5000", "0.7500")


def test_pandas_reads_the_csv_as_the_table_it_makes(two_people: Timeline, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    (path,) = write_report(two_people, tmp_path, ["csv"])
    table = to_pandas(two_people)
    read = pd.read_csv(path, dtype={"track": "Int64"})
    pd.testing.assert_frame_equal(read, table, atol=1e-6, rtol=0)
    assert table["track"].isna().tolist() == (two_people.track < 0).tolist()
    assert table.loc[~two_people.seen, PY_FEAT_BOX + PY_FEAT_EMOTIONS].isna().all(axis=None)


def test_parquet_is_the_pandas_table_and_knows_its_provenance(
    two_people: Timeline, tmp_path: Path
) -> None:
    pd, pq = pytest.importorskip("pandas"), pytest.importorskip("pyarrow.parquet")
    (path,) = write_report(two_people, tmp_path, ["parquet"])
    pd.testing.assert_frame_equal(pd.read_parquet(path), to_pandas(two_people))
    about = json.loads(pq.read_schema(path).metadata[b"emoscope"])
    assert about["provenance"] == two_people.to_dict()["provenance"]
    assert about["labels"] == list(two_people.labels)
    assert about["format_version"] == formats.FORMAT_VERSION


def test_an_empty_timeline_keeps_its_columns_and_types(
    two_people: Timeline, tmp_path: Path
) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    empty = Timeline.empty(two_people.labels, two_people.provenance)
    paths = write_report(empty, tmp_path, ["json", "csv", "parquet"])
    assert json.loads(paths[0].read_text())["rows"] == []
    assert len(paths[1].read_text().splitlines()) == 1
    full = to_pandas(two_people)
    for found in (to_pandas(empty), pd.read_parquet(paths[2])):
        assert found.dtypes.equals(full.dtypes)


def test_deepface_gets_its_own_spellings_in_percent(two_people: Timeline) -> None:
    faces = to_deepface(two_people)
    assert len(faces) == int(two_people.seen.sum())
    for face in faces:
        assert set(face["emotion"]) == {
            *["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"],
            "contempt",
        }
        assert math.isclose(sum(face["emotion"].values()), 100, abs_tol=1e-6)
        assert face["dominant_emotion"] == max(face["emotion"], key=face["emotion"].__getitem__)
    assert faces[0]["dominant_emotion"] == "neutral"
    assert faces[2]["dominant_emotion"] == "happy"
    assert faces[2]["region"] == {"x": 20, "y": 30, "w": 40, "h": 50}
    assert (faces[2]["start_s"], faces[2]["end_s"], faces[2]["track"]) == (1.0, 1.25, 1)
    json.dumps(faces)  # plain Python values


def test_deepface_gets_the_whole_frame_where_there_is_no_box(two_people: Timeline) -> None:
    boxless = replace(two_people, boxes_xyxy=np.full((len(two_people), 4), np.nan))
    assert to_deepface(boxless)[0]["region"] == {"x": 0, "y": 0, "w": 160, "h": 120}


def test_every_format_says_what_it_is() -> None:
    assert list(FORMATS) == ["json", "csv", "parquet", "html", "mp4"]
    assert all(FORMATS[name].__doc__ for name in FORMATS)


def test_an_unknown_format_is_refused_before_anything_is_written(
    two_people: Timeline, tmp_path: Path
) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'json'"):
        write_report(two_people, tmp_path / "out", ["csv", "jsn"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("video", "stem", "name"),
    [
        (None, None, "two.csv"),
        ("films/day one.v2.mov", None, "day one.v2.csv"),
        ("films/x.mov", "take-1", "take-1.csv"),
    ],
)
def test_files_take_their_name_from_the_video(
    two_people: Timeline, tmp_path: Path, video: str | None, stem: str | None, name: str
) -> None:
    out = tmp_path / "made" / "on the way"
    assert write_report(two_people, out, ["csv"], video=video, stem=stem) == [out / name]
    assert [path.name for path in out.iterdir()] == [name]


def test_a_timeline_from_nowhere_has_a_name_too(two_people: Timeline, tmp_path: Path) -> None:
    unnamed = replace(two_people, provenance=Provenance())
    (path,) = write_report(unnamed, tmp_path, ["json"])
    assert path.name == "timeline.json"


def test_a_path_that_is_no_text_is_written_all_the_same(
    two_people: Timeline, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"caf\xe9.mp4")
    named = replace(two_people, provenance=replace(two_people.provenance, path=odd))
    for path in write_report(named, tmp_path, ["json", "csv", "parquet", "html"], stem="odd"):
        assert path.stat().st_size > 0


@pytest.mark.parametrize("name", ["json", "csv", "parquet"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    two_people: Timeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    (path,) = write_report(two_people, tmp_path, [name])
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MediaError, match=r"two\.\w+: .*No space left.*Free some space") as caught:
        write_report(two_people, tmp_path, [name])
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MediaError, ValueError])
def test_a_writer_that_stops_half_way_leaves_nothing(
    two_people: Timeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: type[BaseException],
) -> None:
    def half(timeline: Timeline, path: Path, video: Path | None) -> None:
        path.write_text("half")
        raise stop

    monkeypatch.setitem(FORMATS._entries, "csv", half)
    with pytest.raises(stop):
        write_report(two_people, tmp_path, ["json", "csv"])
    assert [path.name for path in tmp_path.iterdir()] == ["two.json"]


def test_an_error_names_the_file_that_was_asked_for(
    two_people: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(timeline: Timeline, path: Path, video: Path | None) -> None:
        raise MediaError(f"{path}: cannot be written.")

    monkeypatch.setitem(FORMATS._entries, "mp4", refuse)
    with pytest.raises(MediaError) as caught:
        write_report(two_people, tmp_path, ["mp4"])
    assert str(caught.value) == f"{tmp_path / 'two.annotated.mp4'}: cannot be written."


def test_a_folder_that_cannot_be_made_is_named(two_people: Timeline, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MediaError, match=r"file/out/two\.json: cannot be written: Not a directory"):
        write_report(two_people, tmp_path / "file" / "out", ["json"])


def test_a_stem_too_long_for_the_file_system_is_one_line(
    two_people: Timeline, tmp_path: Path
) -> None:
    with pytest.raises(MediaError, match="File name too long"):
        write_report(two_people, tmp_path, ["csv"], stem="x" * 300)
    assert not list(tmp_path.iterdir())


def test_an_annotated_video_asks_for_the_video(two_people: Timeline, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="needs the video itself"):
        write_report(two_people, tmp_path, ["mp4"])


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_tables_say_which_extra_they_need(
    two_people: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"emoscope\[pandas\]"):
        write_report(two_people, tmp_path, ["parquet"])
    assert not list(tmp_path.iterdir())
