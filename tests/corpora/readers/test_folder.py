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
