import os
from pathlib import Path

import pytest
from making import make_image_folder
from planting import CREMA, ENTERFACE, RAVDESS, plant, read

from emoscope.core.errors import CorpusError
from emoscope.corpora import read_corpus
from emoscope.corpora.layout import files_below
from emoscope.corpora.readers.manifest import read_manifest

LAYOUTS = {
    "enterface05": ENTERFACE,
    "afew": "Train_AFEW/Angry/",
    "gemep": "01_adm.avi",
    "ravdess": RAVDESS,
    "crema-d": CREMA,
    "folder": "SUBJECT/LABEL/file",
}


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_a_wrong_layout_is_one_line_with_the_expected_and_the_present_files(
    corpus: str, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError) as raised:
        read(corpus, tmp_path, "a/b/c/holiday.mp4", "readme.txt")
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}: expected ")
    assert LAYOUTS[corpus] in message
    assert "found a/b/c/holiday.mp4 (" in message
    assert "\n" not in message


def test_an_error_names_the_files_that_are_present(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"found a\.txt, b\.txt\.$"):
        read("ravdess", tmp_path, "a.txt", "b.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"found nothing\.$"):
        read_corpus("ravdess", tmp_path / "empty")


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_an_archive_is_refused(corpus: str, tmp_path: Path) -> None:
    plant(tmp_path, ["corpus.tar"])
    with pytest.raises(CorpusError, match=r"expected a folder with .*, found a file"):
        read_corpus(corpus, tmp_path / "corpus.tar")


def test_samples_survive_writing_and_reading_a_manifest(tmp_path: Path) -> None:
    manifest = read("ravdess", tmp_path, RAVDESS, "Actor_01/01-02-06-02-01-02-01.mp4")
    manifest.write(tmp_path / "m.csv")
    again = read_manifest(tmp_path / "m.csv")
    assert [(s.label, s.subject, s.groups) for s in again.samples] == [
        (s.label, s.subject, s.groups) for s in manifest.samples
    ]


# Issue 18, kind 5: linked folders were lost and not counted


def test_linked_folders_are_read(tmp_path: Path) -> None:
    plant(tmp_path / "disk", ["anna/sad/1.mp4", "anna/happy/1.mp4"])
    root = plant(tmp_path / "root", ["ben/sad/1.mp4", ".store/cleo/sad/1.mp4"])
    (root / "anna").symlink_to(tmp_path / "disk" / "anna")
    (root / "cleo").symlink_to(".store/cleo")
    manifest = read_corpus("folder", root)
    assert manifest.counts("subject") == {"anna": 2, "ben": 1, "cleo": 1}
    assert manifest.left_out == {"hidden file": 1}
    assert {sample.path.parts[-3] for sample in manifest.samples} == {"anna", "ben", "cleo"}


def test_links_that_lead_back_are_counted_and_not_followed(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", ["anna/sad/1.mp4", "ben/sad/1.mp4"])
    for link, target in {
        "anna/sad/loop": root,
        "ben/up": tmp_path,  # holds the corpus itself
        "anna/other": root / "ben",
        "ben/other": root / "anna",
        "latest": root / "anna",
    }.items():
        (root / link).symlink_to(target)
    manifest = read_corpus("folder", root)
    assert manifest.counts("subject") == {"anna": 1, "ben": 1}
    assert manifest.left_out == {"linked folder that is read already": 5}


def test_broken_links_and_odd_files_are_counted(tmp_path: Path) -> None:
    root = plant(tmp_path, ["sad/1.mp4", ".hidden/1.mp4"])
    (root / "sad" / "2.mp4").symlink_to("nowhere.mp4")
    (root / "sad" / "3.mp4").symlink_to("3.mp4")
    (root / "sad" / "4.mp4").symlink_to("1.mp4")
    (root / ".link").symlink_to("sad")
    os.mkfifo(root / "sad" / "5.mp4")
    files, left_out = files_below(root)
    names = sorted(path.relative_to(root).as_posix() for path in files)
    assert names == [".hidden/1.mp4", "sad/1.mp4", "sad/4.mp4"]
    assert left_out == {"broken link": 2, "hidden file": 1, "not a recording": 1}


def test_a_folder_that_cannot_be_read_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scandir = plant(tmp_path, ["sad/1.mp4", "locked/1.mp4"]), os.scandir

    def locked(folder: Path) -> object:
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr("emoscope.corpora.layout.os.scandir", locked)
    assert read_corpus("folder", root).left_out == {"folder that cannot be read": 1}


@pytest.mark.parametrize(
    ("corpus", "folder"),
    [("fer2013", "train/angry"), ("oulu-casia", "OriginalImg/VL/Strong/P001/Anger")],
)
def test_linked_folders_of_corpora_by_folder_are_read(
    corpus: str, folder: str, tmp_path: Path
) -> None:
    pictures = tmp_path / "disk"
    make_image_folder(pictures, num_images=1)
    link = tmp_path / "root" / folder
    link.parent.mkdir(parents=True)
    link.symlink_to(pictures)
    assert len(read_corpus(corpus, tmp_path / "root").samples) == 1
    link.unlink()
    link.symlink_to("nowhere")
    with pytest.raises(CorpusError, match=f"{folder}: the linked folder does not exist"):
        read_corpus(corpus, tmp_path / "root")


def test_linked_folders_of_ckplus_are_read_or_counted(tmp_path: Path) -> None:
    root = plant(tmp_path, ["Emotion/S005/001/S005_001_00000011_emotion.txt"])
    for code in root.rglob("*.txt"):
        code.write_text("3.0")
    (tmp_path / "disk").mkdir()
    make_image_folder(tmp_path / "disk" / "001", num_images=2)
    link = root / "cohn-kanade-images" / "S005"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "disk")
    (sample,) = read_corpus("ckplus", root).samples
    assert sample.path == link / "001"
