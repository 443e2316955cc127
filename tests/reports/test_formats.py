import builtins
import csv
import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoscope.core.errors import MediaError, MissingExtra, UnknownName
from emoscope.core.results import Provenance, Timeline
from emoscope.reports import formats
from emoscope.reports.formats import FORMATS, write_report

PY_FEAT_BOX = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
PY_FEAT_EMOTIONS = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_json_is_the_timelines_dict_with_summary_and_segments(
    two_people: Timeline, tmp_path: Path
) -> None:
    (path,) = write_report(two_people, tmp_path, ["json"])
    assert path == tmp_path / "two.json"
    document = json.loads(path.read_text(), parse_constant=refuse_constant)
    assert document.pop("format_version") == 1
    assert document.pop("summary") == [asdict(entry) for entry in two_people.summary()]
    assert document.pop("segments") == [asdict(segment) for segment in two_people.segments()]
    assert document == two_people.to_dict()


def test_json_has_one_line_per_row_and_null_without_a_face(
    two_people: Timeline, tmp_path: Path
) -> None:
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


def test_csv_has_empty_cells_where_no_face_was_seen(two_people: Timeline, tmp_path: Path) -> None:
    (path,) = write_report(two_people, tmp_path, ["csv"])
    with path.open(newline="") as file:
        row = list(csv.DictReader(file))[2]
    empty = {"track", "leading", "modalities", *PY_FEAT_BOX, *two_people.labels}
    assert {name for name, cell in row.items() if cell == ""} == empty
    assert (row["start_s"], row["end_s"]) == ("0.5000", "0.7500")


def test_the_csv_read_by_pandas_equals_to_pandas(two_people: Timeline, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    (path,) = write_report(two_people, tmp_path, ["csv"])
    table = two_people.to_pandas()
    read = pd.read_csv(path, dtype={"track": "Int64"})
    pd.testing.assert_frame_equal(read, table, atol=1e-6, rtol=0)
    assert table["track"].isna().tolist() == (two_people.track < 0).tolist()
    assert table.loc[~two_people.seen, PY_FEAT_BOX + PY_FEAT_EMOTIONS].isna().all(axis=None)


def test_parquet_is_the_pandas_table_with_the_provenance(
    two_people: Timeline, tmp_path: Path
) -> None:
    pd, pq = pytest.importorskip("pandas"), pytest.importorskip("pyarrow.parquet")
    (path,) = write_report(two_people, tmp_path, ["parquet"])
    pd.testing.assert_frame_equal(pd.read_parquet(path), two_people.to_pandas())
    about = json.loads(pq.read_schema(path).metadata[b"emoscope"])
    assert about["provenance"] == two_people.to_dict()["provenance"]
    assert about["labels"] == list(two_people.labels)
    assert about["format_version"] == formats.FORMAT_VERSION


def test_labels_do_not_replace_other_columns(two_people: Timeline, tmp_path: Path) -> None:
    """Kind: labels called `track` or `start_s`, in CSV, Parquet and pandas alike."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    labels = ("track", "start_s", "leading", "input", "a", "b", "c", "p_track")
    timeline = replace(two_people, labels=labels)
    csv_path, parquet_path = write_report(timeline, tmp_path, ["csv", "parquet"])
    for table in (timeline.to_pandas(), pd.read_csv(csv_path), pd.read_parquet(parquet_path)):
        assert len(table.columns) == len(set(table.columns)) == 12 + len(labels)
        assert table["track"].dropna().tolist() == two_people.track[two_people.seen].tolist()
        assert table["start_s"].tolist() == two_people.spans_s[:, 0].tolist()
        np.testing.assert_allclose(table["p_p_track"], two_people.probs[:, 0], atol=1e-6)
        np.testing.assert_allclose(table["p_track"], two_people.probs[:, 7], atol=1e-6)
        assert table["leading"].isna().tolist() == (~two_people.seen).tolist()


def test_missing_texts_are_missing_and_typed_in_parquet(
    two_people: Timeline, tmp_path: Path
) -> None:
    """Kind: the text "None" where there is none. Also if every text of a column is missing."""
    pd, pq = pytest.importorskip("pandas"), pytest.importorskip("pyarrow.parquet")
    nobody = two_people.rows(~two_people.seen)
    for timeline in (two_people, nobody):
        (path,) = write_report(timeline, tmp_path, ["parquet"])
        for name in ("leading", "modalities"):
            expected = (~timeline.seen).tolist()
            assert pq.read_table(path)[name].is_null().to_pylist() == expected
            assert pd.read_parquet(path)[name].isna().tolist() == expected
            assert str(pq.read_schema(path).field(name).type) == "large_string"


def test_an_empty_timeline_keeps_its_columns_and_types(
    two_people: Timeline, tmp_path: Path
) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    empty = Timeline.empty(two_people.labels, two_people.provenance)
    paths = write_report(empty, tmp_path, ["json", "csv", "parquet"])
    assert json.loads(paths[0].read_text())["rows"] == []
    assert len(paths[1].read_text().splitlines()) == 1
    full = two_people.to_pandas()
    for table in (empty.to_pandas(), pd.read_parquet(paths[2])):
        assert table.dtypes.equals(full.dtypes)


def test_every_format_has_a_suffix_of_its_own_and_a_description() -> None:
    assert {"json", "csv", "parquet", "html", "mp4"} <= set(FORMATS)
    assert len({FORMATS[name].suffix for name in FORMATS}) == len(FORMATS)
    assert all(FORMATS[name].write.__doc__ for name in FORMATS)


def test_looking_up_a_format_imports_no_slow_package() -> None:
    code = """if True:
        import sys
        from emoscope.reports import FORMATS
        assert len(FORMATS) >= 5
        print(sorted({"plotly", "pandas", "pyarrow", "jinja2"} & set(sys.modules)))"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_an_installed_package_can_add_a_format(two_people: Timeline, tmp_path: Path) -> None:
    """In a process of its own, because the registry of this one is complete."""
    (tmp_path / "made_reports.py").write_text(
        "from emoscope.reports import FORMATS, ReportFormat\n"
        "def write(timeline, path, video=None):\n"
        "    path.write_text(f'{len(timeline)} rows')\n"
        "FORMATS.add('count', ReportFormat('.count.txt', write))\n"
    )
    about = tmp_path / "made_reports-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: made-reports\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[emoscope.reports]\ncount = made_reports\n")
    code = """if True:
        from emoscope import Timeline
        from emoscope.reports import write_report
        print(write_report(Timeline.empty(["joy"]), "out", ["json", "count"])[1].read_text())"""
    python_path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "0 rows\n"
    assert (tmp_path / "out" / "timeline.count.txt").is_file()


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
        ("films/.hidden.mov", None, "hidden.csv"),  # kind: hidden and odd names
        ("films/...", None, "timeline.csv"),
        ("films/ .mov", None, "timeline.csv"),
        ("films/..mp4", None, "timeline.csv"),
        ("films/clips/..", None, "films.csv"),
    ],
)
def test_files_are_named_after_the_video(
    two_people: Timeline, tmp_path: Path, video: str | None, stem: str | None, name: str
) -> None:
    out = tmp_path / "created" / "on demand"
    assert write_report(two_people, out, ["csv"], video=video, stem=stem) == [out / name]
    assert [path.name for path in out.iterdir()] == [name]


def test_a_timeline_without_a_path_is_written_as_timeline(
    two_people: Timeline, tmp_path: Path
) -> None:
    unnamed = replace(two_people, provenance=Provenance())
    (path,) = write_report(unnamed, tmp_path, ["json"])
    assert path.name == "timeline.json"


def test_a_path_with_bytes_that_are_not_text_is_written(
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
def test_an_interrupted_writer_leaves_no_file(
    two_people: Timeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: type[BaseException],
) -> None:
    def half(timeline: Timeline, path: Path, video: Path | None) -> None:
        path.write_text("half")
        raise stop

    monkeypatch.setitem(FORMATS._entries, "csv", replace(FORMATS["csv"], write=half))
    with pytest.raises(stop):
        write_report(two_people, tmp_path, ["json", "csv"])
    assert [path.name for path in tmp_path.iterdir()] == ["two.json"]


def test_an_error_names_the_final_file(
    two_people: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(timeline: Timeline, path: Path, video: Path | None) -> None:
        raise MediaError(f"{path}: cannot be written.")

    monkeypatch.setitem(FORMATS._entries, "mp4", replace(FORMATS["mp4"], write=refuse))
    with pytest.raises(MediaError) as caught:
        write_report(two_people, tmp_path, ["mp4"])
    assert str(caught.value) == f"{tmp_path / 'two.annotated.mp4'}: cannot be written."


def test_a_folder_that_cannot_be_created_is_named(two_people: Timeline, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MediaError, match=r"file/out/two\.json: cannot be written: Not a directory"):
        write_report(two_people, tmp_path / "file" / "out", ["json"])


def test_a_stem_too_long_for_the_file_system_is_refused(
    two_people: Timeline, tmp_path: Path
) -> None:
    with pytest.raises(MediaError, match="File name too long"):
        write_report(two_people, tmp_path, ["csv"], stem="x" * 300)
    assert not list(tmp_path.iterdir())


def test_an_annotated_video_needs_the_video(two_people: Timeline, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="needs the source video"):
        write_report(two_people, tmp_path, ["mp4"])


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_tables_name_the_missing_extra(
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
