from pathlib import Path

import pytest
from planting import pictures
from refusing import refusal

from emoscope.core.labels import LABEL_SETS
from emoscope.corpora import read_corpus
from emoscope.corpora.readers.oulu_casia import read_oulu_casia


def oulu(root: Path, where: str, count: int = 2) -> Path:
    pictures(root / where, "", ".jpeg", count)
    return root / where


def test_the_folders_of_oulu_casia_give_label_subject_and_groups(tmp_path: Path) -> None:
    paths = [
        oulu(tmp_path, "OriginalImg/NI/Dark/P080/Happiness"),
        oulu(tmp_path, "OriginalImg/VL/Strong/P001/Anger"),
        oulu(tmp_path, "PreProcess Img/VL_Acropped/Weak/P001/Sadness"),
    ]
    (tmp_path / "OriginalImg/VL/Strong/P001/Anger/Thumbs.db").touch()
    (tmp_path / "OriginalImg/VL/Strong.zip").touch()
    corpus = read_corpus("oulu-casia", tmp_path)
    assert corpus.labels == LABEL_SETS["basic6"].labels
    assert [(s.path, s.label, s.subject) for s in corpus.samples] == [
        (paths[0], "happiness", "P080"),
        (paths[1], "anger", "P001"),
        (paths[2], "sadness", "P001"),
    ]
    assert [tuple(s.groups.values()) for s in corpus.samples] == [
        ("NI", "Dark", "no"),
        ("VL", "Strong", "no"),
        ("VL", "Weak", "yes"),
    ]
    assert list(corpus.samples[0].groups) == ["camera", "light", "cropped"]
    assert {s.fps for s in corpus.samples} == {25}


def test_folders_of_oulu_casia_without_pictures_are_counted(tmp_path: Path) -> None:
    oulu(tmp_path, "OriginalImg/VL/Strong/P001/Anger")
    fear = oulu(tmp_path, "OriginalImg/VL/Strong/P001/Fear", count=0)
    (fear / "Thumbs.db").touch()
    corpus = read_oulu_casia(tmp_path)
    assert len(corpus.samples) == 1
    assert corpus.left_out == {"no pictures": 1}


@pytest.mark.parametrize(
    ("where", "expected", "found"),
    [
        ("OriginalImg/VL/Strong/P001/Bored", "Anger, Disgust, Fear", "Bored"),
        ("OriginalImg/VL/Strong/Anger/P001", "P001 to P080", "Anger"),
        ("OriginalImg/VL/Bright/P001/Anger", "Strong, Weak and Dark", "Bright"),
        ("OriginalImg/VL_Acropped/Strong/P001/Anger", "VL or NI", "VL_Acropped"),
        ("PreProcess Img/VL/Strong/P001/Anger", "with _Acropped where cropped", "VL"),
    ],
)
def test_a_folder_of_oulu_casia_out_of_place_is_named(
    tmp_path: Path, where: str, expected: str, found: str
) -> None:
    oulu(tmp_path, where)
    message = refusal(lambda: read_oulu_casia(tmp_path))
    assert expected in message
    assert message.endswith(f"found {found}.")


def test_an_error_for_another_folder_than_oulu_casia_names_its_content(tmp_path: Path) -> None:
    oulu(tmp_path, "VL/Strong/P001/Anger")
    message = refusal(lambda: read_oulu_casia(tmp_path))
    assert "expected pictures as in OriginalImg/VL/Strong/P001/Anger" in message
    assert message.endswith("found VL.")
