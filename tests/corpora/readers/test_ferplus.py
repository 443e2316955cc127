import csv
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusing import refusal

from emoscope.core.labels import LABEL_SETS
from emoscope.corpora import Manifest, Sample, read_corpus
from emoscope.corpora.readers.ferplus import read_ferplus
from emoscope.training.folds import plan_folds
from emoscope.training.recipe import Fixed

COLUMNS = (*LABEL_SETS["ferplus8"].labels, "unknown", "NF")
FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


class Tree:
    """A FER+ tree as its authors lay it out, a picture at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[list[object]] = []

    def add(self, usage: str = "Training", shade: int | None = 0, **votes: int) -> str:
        """A row, and unless `shade` is None a picture of that shade; equal shades are twins."""
        name = f"fer{len(self.rows):07d}.png"
        if shade is not None:
            folder = self.root / FOLDERS[usage]
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name), np.full((48, 48), shade, np.uint8))
        self.rows.append([usage, name, *(votes.get(column, 0) for column in COLUMNS)])
        return name

    def read(self, columns: tuple[str, ...] = COLUMNS) -> Manifest:
        self.root.mkdir(exist_ok=True)
        with (self.root / "fer2013new.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["Usage", "Image name", *columns], *self.rows])
        return read_ferplus(self.root)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "ferplus")


def test_votes_become_a_distribution_over_the_eight_emotions(tree: Tree) -> None:
    tree.add(happiness=6, surprise=2, unknown=2)
    corpus = tree.read()
    (still,) = corpus.samples
    assert corpus.labels == LABEL_SETS["ferplus8"].labels
    assert still.votes == (0, 0.6, 0.2, 0, 0, 0, 0, 0)  # a fifth of the votes is for no emotion
    assert still.label == "happiness"
    assert still.is_clear
    assert still.path.is_file()


def test_the_usage_column_gives_the_split(tree: Tree) -> None:
    for usage in ("Training", "PublicTest", "PublicTest", "PrivateTest"):
        tree.add(usage, fear=10)
    corpus = tree.read()
    assert [len(corpus.split(part)) for part in ("train", "valid", "test")] == [1, 2, 1]


def test_rows_topped_by_unknown_or_no_face_are_left_out_and_counted(tree: Tree) -> None:
    tree.add(unknown=6, anger=4)
    tree.add(NF=10)
    tree.add(unknown=5, anger=5)  # no emotion has more votes than "unknown"
    tree.add()  # no votes at all
    kept = tree.add(anger=6, unknown=4)
    corpus = tree.read()
    assert [still.path.name for still in corpus.samples] == [kept]
    assert corpus.left_out == {"train: topped by unknown or NF": 4}


def test_rows_without_a_picture_are_left_out_and_counted(tree: Tree) -> None:
    tree.add(shade=None, anger=10)
    tree.add(anger=10)
    tree.rows.append(["Training", "", *([10] + [0] * 9)])  # FER+ names no file for some rows
    corpus = tree.read()
    assert len(corpus.samples) == 1
    assert corpus.left_out == {"train: no picture": 2}


def test_a_tie_is_kept_but_not_clear(tree: Tree) -> None:
    tree.add(anger=4, fear=4, sadness=2)
    tree.add(anger=5, fear=4)
    tie, clear = tree.read().samples
    assert (tie.is_clear, clear.is_clear) == (False, True)
    assert tie.votes is not None
    np.testing.assert_allclose(sorted(tie.votes)[-3:], [0.2, 0.4, 0.4])


def without_twins(corpus: Manifest) -> tuple[list[Sample], int]:
    """Training samples of the corpus's own split with `drop_twins`, and how many were dropped."""
    protocol = Fixed(name="fixed", drop_twins=True)
    plan = plan_folds(corpus.samples, corpus.labels, protocol, seed=0, final="final")
    (fold,) = plan.folds
    return [plan.samples[row] for row in fold.train], sum(plan.left_out.values())


def test_twins_are_dropped_across_parts_and_counted(tree: Tree) -> None:
    twin = tree.add(shade=7, anger=10)
    inner = [tree.add(shade=9, anger=10), tree.add(shade=9, fear=10)]  # twins of each other only
    tree.add("PublicTest", shade=7, sadness=10)
    corpus = tree.read()
    kept, dropped = without_twins(corpus)
    assert [still.path.name for still in kept] == inner
    assert twin not in inner
    assert dropped == 1


def test_a_table_that_begins_with_a_byte_order_mark_is_read(tree: Tree) -> None:
    tree.add(anger=10)
    tree.read()
    table = tree.root / "fer2013new.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert len(read_ferplus(tree.root).samples) == 1


def test_an_error_for_a_folder_without_the_table_names_its_content(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").touch()
    message = refusal(lambda: read_ferplus(tmp_path))
    assert message == f"{tmp_path}: expected FER+'s fer2013new.csv, found fer2013.csv."
    missing = tmp_path / "missing"
    assert refusal(lambda: read_ferplus(missing)).endswith("found nothing.")


def test_a_table_without_pictures_is_refused(tree: Tree) -> None:
    tree.add(shade=None, anger=10)
    message = refusal(tree.read)
    assert "expected the pictures that fer2013new.csv names in FER2013Train" in message
    assert message.endswith("found fer2013new.csv.")


def test_a_table_of_other_columns_is_refused(tree: Tree) -> None:
    tree.add(anger=10)
    message = refusal(lambda: tree.read(columns=("emotion", *COLUMNS[:-2], "pixels")))
    assert "expected the columns unknown, NF, found Usage, Image name, emotion" in message


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fer2013new.csv").touch()
    assert refusal(lambda: read_ferplus(tmp_path)).endswith("found nothing.")


@pytest.mark.parametrize(
    "row",
    [
        ["Holdout", "a.png", *([1] * 10)],
        ["Training", "a.png", *([1] * 9), "many"],
        ["Training", "a.png", *([1] * 9), -1],
        ["Training", "a.png", 1, 1],
    ],
    ids=["another usage", "no number", "negative", "cut short"],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(tree: Tree, row: list[object]) -> None:
    tree.add(anger=10)
    tree.rows.append(row)
    message = refusal(tree.read)
    assert "line 3: expected one of Training, PublicTest, PrivateTest and 10 vote" in message
    assert f"found {row[0]}, a.png" in message


@pytest.mark.data
@pytest.mark.slow
def test_the_published_pictures_are_read_and_counted(shared: Path, tmp_path: Path) -> None:
    root = tmp_path
    with tarfile.open(shared / "data" / "ferplus-train-valid.tar.gz") as archive:
        archive.extractall(root, filter="data")
    corpus = read_corpus("ferplus", root / "ferplus")
    train, valid = corpus.split("train"), corpus.split("valid")
    # Counted from the table and the files by other means (awk, sha256sum).
    assert (len(train), len(valid)) == (26_940 + 1_213, 3_396 + 128)
    assert [sum(not still.is_clear for still in part) for part in (train, valid)] == [1_213, 128]
    assert corpus.left_out == {
        "train: topped by unknown or NF": 556,
        "valid: topped by unknown or NF": 65,
    }
    assert without_twins(corpus)[1] == 333
    votes = np.array([still.votes for still in corpus.samples])
    sums = votes.sum(axis=1)
    assert sums.min() > 0.1
    assert sums.max() == pytest.approx(1)
    assert sum(still.is_agreed for still in valid) == 2_862
    led = Counter(still.label for still in valid if still.is_clear)
    assert led["neutral"] == 1_242
    assert led["contempt"] == 24
