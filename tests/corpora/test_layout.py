from pathlib import Path

import pytest
from planting import CREMA, ENTERFACE, RAVDESS, plant, read

from emoscope.core.errors import CorpusError
from emoscope.corpora import read_corpus
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
