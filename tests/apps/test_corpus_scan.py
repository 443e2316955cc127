"""`emoscope corpus scan`."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asking import ask, assert_one_line, lines, names

from emoscope.corpora import CORPORA, read_corpus


def scan(*words: object) -> Any:
    return ask("corpus", "scan", *words)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two actors of RAVDESS: four samples, two of them the same, and two strangers."""
    root = tmp_path / "ravdess"
    for actor in (1, 2):
        (root / f"Actor_{actor:02}").mkdir(parents=True)
    for name, content in {
        "Actor_01/03-01-05-01-01-01-01.wav": "a",
        "Actor_01/03-01-05-01-01-02-01.wav": "a",
        "Actor_01/03-01-04-01-01-01-01.wav": "b",
        "Actor_02/03-01-03-01-01-01-02.wav": "longer",
        "Actor_02/03-01-09-01-01-01-02.wav": "unknown",
        "README.txt": "text",
    }.items():
        (root / name).write_text(content, encoding="utf-8")
    return root


def test_a_scan_counts_samples_and_identical_files(corpus: Path) -> None:
    ran = scan("ravdess", corpus)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert lines(ran.stdout) == [
        "ravdess: 4 samples, 8 labels",
        "label: neutral 0, calm 0, happiness 1, sadness 1, anger 2, fear 0, disgust 0, surprise 0",
        "subject: 2, 1 to 3 samples each",
        "split: not fixed",
        "left out: unknown code '09' (emotion) 1, not a recording 1",
        "files with identical content: 1 group, 2 files",
        "  Actor_01/03-01-05-01-01-01-01.wav = Actor_01/03-01-05-01-01-02-01.wav",
    ]


def test_the_manifest_has_a_line_per_sample(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "manifest.csv"
    ran = scan("ravdess", corpus, "-o", out)
    assert lines(ran.stdout)[-1] == f"written: {out}"
    with out.open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [(row["label"], row["subject"], row["group:gender"]) for row in rows] == [
        ("sadness", "1", "male"),
        ("anger", "1", "male"),
        ("anger", "1", "male"),
        ("happiness", "2", "female"),
    ]
    again = scan("manifest", out)
    assert lines(again.stdout)[0] == "manifest: 4 samples, 3 labels"
    assert f"  {corpus}/Actor_01/03-01-05-01-01-01-01.wav = " in again.stdout


def test_a_fixed_split_and_missing_subjects_are_shown(tmp_path: Path) -> None:
    for name in ("Train_AFEW/Angry/1.avi", "Train_AFEW/Sad/2.avi", "Val_AFEW/Sad/3.avi"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    printed = lines(scan("afew", tmp_path).stdout)
    assert printed[2:] == [
        "subject: not given",
        "split: train 2, valid 1",
        "left out: nothing",
        "files with identical content: none",
    ]


def test_many_duplicates_are_counted_and_a_few_listed(tmp_path: Path) -> None:
    for content in "abcde":
        for n in range(5):
            path = tmp_path / "sad" / f"{content}{n}.wav"
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
    assert lines(scan("folder", tmp_path).stdout)[-5:] == [
        "files with identical content: 5 groups, 25 files",
        "  sad/a0.wav = sad/a1.wav = sad/a2.wav and 2 more",
        "  sad/b0.wav = sad/b1.wav = sad/b2.wav and 2 more",
        "  sad/c0.wav = sad/c1.wav = sad/c2.wav and 2 more",
        "  and 2 more groups",
    ]


def test_a_wrong_layout_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").write_text("film", encoding="utf-8")
    out = tmp_path / "m.csv"
    assert_one_line(scan("afew", tmp_path, "-o", out), tmp_path, "found holiday.mp4")
    assert names(tmp_path) == ["holiday.mp4"]


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    assert_one_line(scan("afew", tmp_path / "gone"), tmp_path / "gone", "no such file or folder")


def test_a_table_that_cannot_be_written_is_one_line(corpus: Path) -> None:
    ran = scan("ravdess", corpus, "-o", corpus / "README.txt" / "m.csv")
    assert ran.exit_code == 1
    (line,) = lines(ran.stderr)
    assert "cannot be written" in line


def test_a_file_that_disappears_is_one_line(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = corpus / "Actor_01" / "03-01-04-01-01-01-01.wav"

    def read_then_lose(name: str, root: Path) -> Any:
        manifest = read_corpus(name, root)
        gone.unlink()
        return manifest

    monkeypatch.setattr("emoscope.corpora.read_corpus", read_then_lose)
    ran = scan("ravdess", corpus)
    assert ran.exit_code == 1
    (line,) = lines(ran.stderr)
    assert line.startswith(f"emoscope: {gone}: No such file")


def test_an_unknown_corpus_is_a_usage_error_with_a_suggestion(tmp_path: Path) -> None:
    ran = scan("ravdes", tmp_path)
    assert ran.exit_code == 2
    assert lines(ran.stderr) == ["emoscope: No corpus named 'ravdes'. Did you mean 'ravdess'?"]


# Issue 18, kinds 4 and 5
def test_spellings_and_splits_are_noted(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    table = tmp_path / "m.csv"
    table.write_text("path,label,subject\na.mp4,joy,S1\nb.mp4,joy,s1\n", encoding="utf-8")
    printed = lines(scan("manifest", table).stdout)
    assert printed[2] == "subject: 1, 2 samples each"
    assert printed[5] == (
        "note: The subjects 'S1' and 's1' differ only in case or number format: they count as one "
        "person. Write them alike, or rename one."
    )
    for split in ("train", "test"):
        (tmp_path / "corpus" / split / "happy").mkdir(parents=True)
        (tmp_path / "corpus" / split / "happy" / "1.mp4").write_text(split, encoding="utf-8")
    (tmp_path / "corpus" / "test" / "again").symlink_to(tmp_path)
    printed = lines(scan("folder", tmp_path / "corpus").stdout)
    assert printed[2:6] == [
        "subject: not given",
        "split: test 1, train 1",
        "left out: linked folder that is read already 1",
        "note: The folders test, train are read as splits, not as persons.",
    ]


@pytest.mark.parametrize("rows", ["C:\\gone.mp4,joy\n", "a.mp4,nan\n"])
def test_a_table_that_gives_no_samples_fails(tmp_path: Path, rows: str) -> None:
    (tmp_path / "a.mp4").write_text("film", encoding="utf-8")
    table = tmp_path / "m.csv"
    table.write_text(f"path,label\n{rows}", encoding="utf-8")
    reason = "line 2: 'nan' is not a label" if "nan" in rows else "found none of its 1 files"
    assert_one_line(scan("manifest", table), table, reason)


def test_scanning_needs_no_torch(corpus: Path) -> None:
    code = (
        "import sys; from emoscope.apps.cli import app\n"
        f"app(['corpus', 'scan', 'ravdess', {str(corpus)!r}], standalone_mode=False)\n"
        "assert not {'torch', 'onnxruntime', 'plotly'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_corpus_is_listed_with_its_layout_and_options() -> None:
    ran = ask("corpus", "list")
    assert (ran.exit_code, ran.stderr) == (0, "")
    listed = [line.split()[0] for line in lines(ran.stdout) if not line.startswith(" ")]
    assert listed == sorted(CORPORA)
    assert "`Actor_01/03-01-05-01-02-01-12.wav`" in ran.stdout
    assert "--option pattern=" in ran.stdout
