from pathlib import Path

import pytest
from making import make_image_folder
from refusing import refusal

from emoscope.corpora import manifest as module
from emoscope.corpora import read_corpus
from emoscope.corpora.manifest import Manifest, Sample, digest
from emoscope.corpora.readers.manifest import read_manifest


def files(folder: Path, **contents: str) -> list[Path]:
    for name, text in contents.items():
        (folder / name).write_text(text)
    return [folder / name for name in contents]


def table(folder: Path, text: str) -> Path:
    path = folder / "clips.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    a, b, c = files(tmp_path, a="1", b="2", c="3")
    manifest = Manifest(
        "clips",
        ("sadness", "anger"),
        (
            Sample(a, "anger", "S1", "train", (0.1 + 0.2, 0.7 - 1e-16), 0.1 + 0.2, 7.5, 25.0),
            Sample(b, "sadness", 'O"Hara, 2', "valid", groups={"light": "Weak, dim", "sex": "f"}),
            Sample(c, "anger", groups={"light": "Dark"}, end_s=1 / 3),
        ),
    )
    (tmp_path / "elsewhere").mkdir()
    manifest.write(tmp_path / "elsewhere" / "clips.csv")
    assert read_manifest(tmp_path / "elsewhere" / "clips.csv") == manifest


def test_paths_outside_the_tables_folder_are_written_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, a="1")
    monkeypatch.chdir(tmp_path)
    Manifest("x", ("anger",), (Sample(Path("a"), "anger"),)).write(tmp_path / "deep" / "x.csv")
    assert read_manifest(tmp_path / "deep" / "x.csv").samples[0].path == tmp_path / "a"


def test_a_table_needs_only_a_path_and_a_label(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    files(tmp_path / "clips", a="1", b="2")
    path = table(tmp_path, "\ufefflabel,path\nHappy,clips/a\nANGRY,clips/b\n")
    manifest = read_corpus("manifest", path)
    assert manifest.labels == ("anger", "happiness")
    assert manifest.samples == (
        Sample(tmp_path / "clips" / "a", "happiness"),
        Sample(tmp_path / "clips" / "b", "anger"),
    )


def test_rows_whose_file_is_missing_are_left_out_and_counted(tmp_path: Path) -> None:
    files(tmp_path, a="1")
    manifest = read_manifest(table(tmp_path, "path,label\na,fear\nb,fear\nc,anger\n"))
    assert [sample.path.name for sample in manifest.samples] == ["a"]
    assert manifest.left_out == {"file is missing": 2}


@pytest.mark.parametrize(
    ("header", "found"),
    [("path,subject", "path, subject"), ("path,label,mood", "path, label, mood"), ("", "nothing")],
)
def test_other_columns_are_refused(tmp_path: Path, header: str, found: str) -> None:
    message = refusal(lambda: read_manifest(table(tmp_path, header)))
    assert "expected the columns path, label and any of subject, split" in message
    assert message.endswith(f"found {found}.")


@pytest.mark.parametrize(
    "row",
    [
        "a,fear,soon,",
        "a,fear,,fast",
        "a,fear,0,25,more",
        ",fear,,",
        "a,,,",
        "a",
        "a,nan,,",
        "a,NaN,,",
        "a,None,,",
        "a,\u00a0,,",
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    files(tmp_path, a="1")
    path = table(tmp_path, f"path,label,start_s,fps\na,fear,0,25\n{row}\n")
    assert f"{path}, line 3: " in refusal(lambda: read_manifest(path))


@pytest.mark.parametrize(
    ("columns", "cells", "complaint"),
    [
        ("start_s,end_s", "2,1", "start_s = 2.0 must be 0 or more and before end_s = 1.0"),
        ("start_s,end_s", "nan,1", "must be 0 or more and before end_s"),
        ("start_s,end_s", "-1,1", "must be 0 or more and before end_s"),
        ("fps", "0", "fps must be positive and finite, not 0.0"),
        ("fps", "inf", "fps must be positive and finite, not inf"),
        ("split", "holdout", "must be train, valid or test, not 'holdout'"),
        ("vote:fear,vote:anger", "6,4", "votes must be 0 or more and sum to at most 1"),
        ("vote:fear,vote:anger", "1.5,-0.5", "votes must be 0 or more and sum to at most 1"),
        ("vote:fear,vote:anger", "nan,1", "votes must be 0 or more and sum to at most 1"),
        ("vote:fear,vote:anger", "1,", "1 votes for 2 labels"),
        ("vote:anger,vote:sad", "0.5,0.5", "'fear' is not a label of clips"),
    ],
)
def test_invalid_numbers_are_refused(
    tmp_path: Path, columns: str, cells: str, complaint: str
) -> None:
    files(tmp_path, a="1")
    path = table(tmp_path, f"path,label,{columns}\na,fear,{cells}\n")
    message = refusal(lambda: read_manifest(path))
    assert message.startswith(f"{tmp_path / 'a'}: ")
    assert complaint in message


def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path) -> None:
    assert "expected a CSV file" in refusal(lambda: read_manifest(tmp_path))
    path = tmp_path / "clips.csv"
    path.write_bytes("path,label\nÄrger.mp4,anger\n".encode("latin-1"))
    assert "not a readable CSV file in UTF-8" in refusal(lambda: read_manifest(path))


def test_a_label_outside_the_set_is_refused() -> None:
    sample = Sample(Path("a.mp4"), "joy")
    message = refusal(lambda: Manifest("made", ("anger",), (sample,)))
    assert message == "a.mp4: 'joy' is not a label of made."


def test_samples_are_counted_by_column_and_selected_by_split() -> None:
    samples = (
        Sample(Path("a"), "fear", "S2", "train"),
        Sample(Path("b"), "anger", "S1", "train"),
        Sample(Path("c"), "fear", "S2", "test"),
    )
    manifest = Manifest("made", ("anger", "fear"), samples)
    assert manifest.counts("label") == {"anger": 1, "fear": 2}
    assert list(manifest.counts("subject").items()) == [("S1", 1), ("S2", 2)]
    assert manifest.split("train") == samples[:2]


def made(*paths: Path) -> Manifest:
    return Manifest("made", ("fear",), tuple(Sample(path, "fear") for path in paths))


def test_duplicates_are_files_of_the_same_bytes(tmp_path: Path) -> None:
    a, b, c, d = files(tmp_path, a="same", b="diff", c="same", d="longer")
    assert made(a, b, c, d).duplicates() == ((a, c),)


def test_spans_of_one_recording_are_not_duplicates_and_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = files(tmp_path, a="same", b="diff")
    assert made(a, a).duplicates() == ()
    read: list[Path] = []
    monkeypatch.setattr(module, "digest", lambda path: read.append(path) or "a digest")
    assert made(a, a, b, b).duplicates() == ((a, b),), "both are given the same digest"
    assert read == [a, b]


def test_folders_are_duplicates_by_their_pictures(tmp_path: Path) -> None:
    one, two = (make_image_folder(tmp_path / name, num_images=11) for name in ("one", "two"))
    other = make_image_folder(tmp_path / "other", num_images=11)
    (other / "frame1.png").write_bytes((other / "frame2.png").read_bytes())
    (two / "Thumbs.db").write_text("no picture")
    for picture in sorted(two.glob("*.png")):  # the order of numbers, not of letters
        picture.rename(two / f"{int(picture.stem.removeprefix('frame')):03d}.png")
    assert made(one, other, two).duplicates() == ((one, two),)


def test_folders_with_the_same_bytes_in_other_pictures_differ(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, parts in zip(folders, (("ab", "c"), ("a", "bc")), strict=True):
        folder.mkdir()
        for number, part in enumerate(parts):
            (folder / f"{number}.png").write_text(part)
    assert digest(folders[0]) != digest(folders[1])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    assert "gone.mp4: No such file" in refusal(lambda: digest(gone))
    assert "gone.mp4: No such file" in refusal(made(gone).duplicates)


# Issue 18, kind 4: names and paths in other spellings


def test_a_missing_label_or_subject_is_named(tmp_path: Path) -> None:
    files(tmp_path, a="1")
    path = table(tmp_path, "path,label,subject\na,fear,S1\na,nan,S1\n")
    assert refusal(lambda: read_manifest(path)) == (
        f"{path}, line 3: 'nan' is not a label. Give one, or delete the row."
    )
    path = table(tmp_path, "path,label,subject\na,fear,S1\na,fear,nan\n")
    assert refusal(lambda: read_manifest(path)) == (
        f"{path}, line 3: 'nan' is not a subject. Leave the cell empty where it is unknown."
    )


def test_vote_columns_of_one_label_are_refused(tmp_path: Path) -> None:
    files(tmp_path, a="1")
    path = table(tmp_path, "path,label,vote:Fear,vote:fear\na,fear,1,0\n")
    assert refusal(lambda: read_manifest(path)).startswith(f"{path}: two vote: columns")


def test_paths_with_backslashes_are_read(tmp_path: Path) -> None:
    """As pandas writes them on Windows; a file whose name has one is itself."""
    (tmp_path / "clips").mkdir()
    files(tmp_path / "clips", a="1")
    files(tmp_path, **{"b\\c": "2"})
    manifest = read_manifest(table(tmp_path, "path,label\nclips\\a,fear\nb\\c,joy\n"))
    assert [s.path for s in manifest.samples] == [tmp_path / "clips" / "a", tmp_path / "b\\c"]


@pytest.mark.parametrize("rows", ["C:\\clips\\a.mp4,fear\n", ""])
def test_a_table_without_any_file_is_refused(tmp_path: Path, rows: str) -> None:
    path = table(tmp_path, f"path,label\n{rows}")
    message = refusal(lambda: read_manifest(path))
    assert message.startswith(f"{path}: expected paths of recordings")
    assert ("C:/clips/a.mp4" if rows else "found no row") in message


def test_subjects_that_differ_only_in_spelling_are_noted(tmp_path: Path) -> None:
    files(tmp_path, a="1")
    who = ["S1", "S1 ", "S1\u00a0", "s1", "1", "1.0", "2"]
    rows = "".join(f"a,fear,{name}\n" for name in who)
    manifest = read_corpus("manifest", table(tmp_path, f"path,label,subject\n{rows}"))
    assert [sample.subject for sample in manifest.samples] == who, "shown as given"
    assert manifest.notes == tuple(
        f"The subjects {pair} differ only in case or number format: they count as one person. "
        "Write them alike, or rename one."
        for pair in ("'1' and '1.0'", "'S1' and 's1'")
    )


def test_labels_that_differ_only_in_number_format_are_noted(tmp_path: Path) -> None:
    files(tmp_path, a="1")
    manifest = read_corpus("manifest", table(tmp_path, "path,label\na,1\na,1.0\n"))
    assert manifest.labels == ("1", "1.0")
    assert manifest.notes[0].startswith("The labels '1' and '1.0' differ only in number format")
