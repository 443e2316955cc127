import unicodedata
from pathlib import Path

import pytest
from planting import facts, read

from emoscope.core.errors import CorpusError


def test_one_level_of_folders_is_the_label(tmp_path: Path) -> None:
    manifest = read("folder", tmp_path, "Happy/1.mp4", "Happy/2.wav", "bored/3.PNG")
    assert facts(manifest) == [("happiness", ""), ("happiness", ""), ("bored", "")]
    assert manifest.labels == ("bored", "happiness")


def test_two_levels_of_folders_are_subject_and_label(tmp_path: Path) -> None:
    manifest = read("folder", tmp_path, "anna/sad/1.mp4", "ben/sad/1.mp4", "ben/angry/2.mp4")
    assert facts(manifest) == [("sadness", "anna"), ("anger", "ben"), ("sadness", "ben")]


def test_other_depths_and_files_are_counted(tmp_path: Path) -> None:
    odd = ["loose.mp4", "a/b/c/deep.mp4", "sad/notes.txt", "sad/.1.mp4", ".git/sad/1.mp4"]
    manifest = read("folder", tmp_path, "sad/1.mp4", *odd)
    assert facts(manifest) == [("sadness", "")]
    assert manifest.left_out == {
        "neither one nor two folders deep": 2,
        "not a recording": 1,
        "hidden file": 2,
    }


def test_labels_and_subjects_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"found anna/sad/1\.mp4 and happy/1\.mp4"):
        read("folder", tmp_path, "happy/1.mp4", "anna/sad/1.mp4")


# Issue 18, kind 4: folders named as splits were persons


def test_folders_named_as_splits_are_splits_and_reported(tmp_path: Path) -> None:
    names = ["Train/happy/1.mp4", "val/happy/2.mp4", "test/sad/3.mp4"]
    manifest = read("folder", tmp_path, *names)
    assert facts(manifest) == [("happiness", ""), ("sadness", ""), ("happiness", "")]
    assert manifest.counts("split") == {"test": 1, "train": 1, "valid": 1}
    assert manifest.notes == ("The folders Train, test, val are read as splits, not as persons.",)


def test_a_split_among_persons_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="'test' is a split and 'anna' a subject"):
        read("folder", tmp_path, "anna/sad/1.mp4", "test/sad/1.mp4")


@pytest.mark.parametrize("names", [["train/1.mp4", "test/2.mp4"], ["happy/train/1.mp4"]])
def test_splits_in_the_place_of_labels_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(CorpusError, match=r"would be a label. Put the labels below the splits"):
        read("folder", tmp_path, *names)


def test_a_folder_named_nan_is_not_a_label(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"1\.mp4: 'nan' is not a label"):
        read("folder", tmp_path, "NaN/1.mp4", "sad/1.mp4")


def test_a_label_in_two_unicode_forms_is_one_class(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "ärger") for form in ("NFC", "NFD")]
    manifest = read("folder", tmp_path, *(f"{form}/{i}.mp4" for i, form in enumerate(forms)))
    assert manifest.labels == (forms[0],)
    assert all(sample.path.is_file() for sample in manifest.samples), "opened as they are written"
