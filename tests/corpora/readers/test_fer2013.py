import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusing import refusal

from emoscope.core.labels import LABEL_SETS
from emoscope.corpora import read_corpus
from emoscope.corpora.readers.fer2013 import read_fer2013, unpack_fer2013


def folders(root: Path, *names: str) -> Path:
    """FER2013's folders, with a small picture for each name."""
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.full((48, 48), shade, np.uint8))
    return root


def test_the_folders_of_fer2013_give_part_and_label(tmp_path: Path) -> None:
    folders(tmp_path, "train/angry/1.jpg", "train/happy/2.jpg", "test/neutral/3.jpg")
    (tmp_path / "train/happy/notes.txt").touch()
    (tmp_path / "train/.cache").mkdir()
    corpus = read_corpus("fer2013", tmp_path)
    assert corpus.labels == LABEL_SETS["fer2013"].labels
    assert [(s.split, s.label, s.path.name) for s in corpus.samples] == [
        ("train", "anger", "1.jpg"),
        ("train", "happiness", "2.jpg"),
        ("test", "neutral", "3.jpg"),
    ]
    assert corpus.left_out == {"train: no picture": 1}
    assert all(s.is_clear and s.votes is None for s in corpus.samples)


def labels_beside_ferplus(root: Path, *rows: str) -> None:
    (root / "fer2013_labels.csv").write_text("\n".join(["folder,image,emotion", *rows]))


def test_fer2013_is_read_from_a_table_beside_the_pictures_of_ferplus(tmp_path: Path) -> None:
    folders(tmp_path, "FER2013Train/fer0.png", "FER2013Valid/fer1.png")
    rows = ("FER2013Train,fer0.png,angry", "FER2013Valid,fer1.png,sad", "FER2013Train,gone.png,sad")
    labels_beside_ferplus(tmp_path, *rows)
    corpus = read_corpus("fer2013", tmp_path)
    assert [(s.split, s.label, s.path.name) for s in corpus.samples] == [
        ("train", "anger", "fer0.png"),
        ("valid", "sadness", "fer1.png"),
    ]
    assert corpus.left_out == {"train: no picture": 1}


@pytest.mark.parametrize("row", ["FER2013Train,fer0.png,bored", "Train,fer0.png,sad"])
def test_a_table_beside_ferplus_with_another_word_is_refused(row: str, tmp_path: Path) -> None:
    labels_beside_ferplus(tmp_path, row)
    message = refusal(lambda: read_fer2013(tmp_path))
    assert "fer2013_labels.csv, line 2: expected one of FER2013Train" in message
    assert message.endswith(f"found {row.replace(',', ', ')}.")


def test_a_table_beside_no_pictures_is_refused(tmp_path: Path) -> None:
    labels_beside_ferplus(tmp_path, "FER2013Train,fer0.png,sad")
    assert "expected the pictures that it names" in refusal(lambda: read_fer2013(tmp_path))


def test_a_folder_of_another_name_is_refused(tmp_path: Path) -> None:
    folders(tmp_path, "train/angry/1.jpg", "train/bored/2.jpg")
    message = refusal(lambda: read_fer2013(tmp_path))
    assert "expected folders named anger, disgust" in message
    assert message.endswith("found bored.")


def test_an_error_for_a_folder_without_the_parts_names_its_content(tmp_path: Path) -> None:
    folders(tmp_path, "angry/1.jpg")
    message = refusal(lambda: read_fer2013(tmp_path))
    assert message.endswith("expected pictures in train/angry, test/angry and so on, found angry.")


def fer2013_table(folder: Path, *rows: tuple[str, str, str]) -> Path:
    table = folder / "fer2013.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("emotion", "pixels", "Usage"), *rows])
    return table


GREY = " ".join(str(level % 256) for level in range(48 * 48))


def test_the_table_of_fer2013_is_unpacked_to_its_folders(tmp_path: Path) -> None:
    table = fer2013_table(
        tmp_path, ("3", GREY, "Training"), ("0", GREY, "PublicTest"), ("6", GREY, "PrivateTest")
    )
    assert "found fer2013.csv. Unpack the table:" in refusal(lambda: read_fer2013(tmp_path))
    unpack_fer2013(table, tmp_path / "unpacked")
    corpus = read_fer2013(tmp_path / "unpacked")
    assert [(s.split, s.label, s.path.name) for s in corpus.samples] == [
        ("train", "happiness", "fer0000000.png"),
        ("valid", "anger", "fer0000001.png"),
        ("test", "neutral", "fer0000002.png"),
    ]
    picture = cv2.imread(str(corpus.samples[0].path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    np.testing.assert_array_equal(picture.ravel(), np.arange(48 * 48) % 256)


@pytest.mark.parametrize(
    "row",
    [
        ("7", GREY, "Training"),
        ("1", GREY, "Holdout"),
        ("1", "1 2 3", "Training"),
        ("1", GREY.replace("17", "300"), "Training"),
        ("1", GREY.replace("17", "x"), "Training"),
        ("1",),
    ],
    ids=["emotion", "usage", "few pixels", "no grey level", "no number", "cut short"],
)
def test_an_invalid_row_leaves_nothing_half_unpacked(tmp_path: Path, row: tuple[str, ...]) -> None:
    table = fer2013_table(tmp_path, ("3", GREY, "Training"), row)  # type: ignore[arg-type]
    message = refusal(lambda: unpack_fer2013(table, tmp_path / "unpacked"))
    assert "fer2013.csv, line 3: expected an emotion from 0 to 6, 2304 grey levels" in message
    assert list(tmp_path.iterdir()) == [table]


def test_nothing_is_unpacked_over_a_folder_or_from_an_empty_table(tmp_path: Path) -> None:
    table = fer2013_table(tmp_path)
    assert "found no row" in refusal(lambda: unpack_fer2013(table, tmp_path / "unpacked"))
    assert "exists already" in refusal(lambda: unpack_fer2013(table, tmp_path))
    inside = table / "unpacked"  # in a file
    assert f"{inside}: cannot be written: " in refusal(lambda: unpack_fer2013(table, inside))
    message = refusal(lambda: unpack_fer2013(tmp_path / "gone.csv", tmp_path / "unpacked"))
    assert "gone.csv: not a readable CSV file" in message
