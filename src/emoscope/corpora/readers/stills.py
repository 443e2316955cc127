"""Corpora of still faces.

FER2013 (Goodfellow et al., ICONIP 2013) and FER+ (Barsoum et al., ICMI 2016): the same pictures,
with ten votes each.
"""

import csv
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import ByteArray, Float64Array
from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.corpora.manifest import CORPORA, Manifest, Sample, contents
from emoscope.media.reading.images import is_image

__all__ = ["read_fer2013", "read_ferplus", "unpack_fer2013"]


_SPLITS = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
_FERPLUS_FOLDERS = {
    "Training": "FER2013Train",
    "PublicTest": "FER2013Valid",
    "PrivateTest": "FER2013Test",
}
_FER2013_SIDE_PX = 48


@CORPORA.register("ferplus")
def read_ferplus(root: Path) -> Manifest:
    """FER+ as its authors lay it out: `fer2013new.csv` beside `FER2013Train/` and the others.

    Rows topped by "unknown" or "NF" (no face), alone or with an emotion, and rows without a
    picture are left out and counted by part; the rest keep their votes for the eight emotions, as
    shares of all votes. Raises CorpusError.
    """
    table = root / "fer2013new.csv"
    if not table.is_file():
        raise CorpusError(f"{root}: expected FER+'s fer2013new.csv, found {contents(root)}.")
    labels = LABEL_SETS["ferplus8"].labels
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for usage, name, votes in _ferplus_rows(table, (*labels, "unknown", "NF")):
        split, path = _SPLITS[usage], root / _FERPLUS_FOLDERS[usage] / name
        if votes[:-2].max() <= votes[-2:].max():
            left_out[f"{split}: topped by unknown or NF"] += 1
        elif not name or not path.is_file():
            left_out[f"{split}: no picture"] += 1
        else:
            shares = votes[:-2] / votes.sum()
            label = labels[int(shares.argmax())]
            samples.append(Sample(path, label, split=split, votes=tuple(shares.tolist())))
    if not samples:
        raise CorpusError(
            f"{root}: expected the pictures that fer2013new.csv names in "
            f"{', '.join(_FERPLUS_FOLDERS.values())}, found {contents(root)}."
        )
    return Manifest("ferplus", labels, tuple(samples), dict(left_out))


def _ferplus_rows(table: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, str, Float64Array]]:
    """Usage, picture's name and votes of every row. Raises CorpusError."""
    for line, row in _rows(table, ("Usage", "Image name", *columns)):
        try:
            votes = np.array([float(row[name]) for name in columns])
        except (TypeError, ValueError):
            votes = np.full(len(columns), np.nan)
        if row["Usage"] not in _SPLITS or not np.all(votes >= 0):
            raise CorpusError(
                f"{table}, line {line}: expected one of {', '.join(_SPLITS)} and "
                f"{len(columns)} vote counts, found {', '.join(map(str, row.values()))}."
            )
        yield row["Usage"], row["Image name"], votes


def _rows(table: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of every row. Raises CorpusError where a column is missing."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            found = rows.fieldnames or ()
            missing = [name for name in columns if name not in found]
            if missing:
                raise CorpusError(
                    f"{table}: expected the columns {', '.join(missing)}, "
                    f"found {', '.join(found) or 'nothing'}."
                )
            for row in rows:
                yield rows.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table}: not a readable CSV file in UTF-8: {error}.") from None


@CORPORA.register("fer2013")
def read_fer2013(root: Path) -> Manifest:
    """FER2013 in folders: `train/angry/*.jpg` and alike in `valid/` and `test/`; or beside FER+, a
    table `fer2013_labels.csv` (folder, image, emotion) of the pictures in FER+'s folders.

    What is no picture is left out and counted by part. The single `fer2013.csv` holds its pictures
    as text: `unpack_fer2013` makes the folders of it. Raises CorpusError.
    """
    table = root / "fer2013_labels.csv"
    return _fer2013_beside_ferplus(table) if table.is_file() else _fer2013_folders(root)


def _fer2013_beside_ferplus(table: Path) -> Manifest:
    labels = LABEL_SETS["fer2013"].labels
    splits = {folder: _SPLITS[usage] for usage, folder in _FERPLUS_FOLDERS.items()}
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for line, row in _rows(table, ("folder", "image", "emotion")):
        label, split = canonical(row["emotion"] or ""), splits.get(row["folder"])
        if label not in labels or split is None:
            raise CorpusError(
                f"{table}, line {line}: expected one of {', '.join(splits)} and one of "
                f"{', '.join(labels)}, found {', '.join(map(str, row.values()))}."
            )
        path = table.parent / row["folder"] / (row["image"] or "")
        if path.is_file():
            samples.append(Sample(path, label, split=split))
        else:
            left_out[f"{split}: no picture"] += 1
    if not samples:
        raise CorpusError(f"{table}: expected the pictures that it names beside it, found none.")
    return Manifest("fer2013", labels, tuple(samples), dict(left_out))


def _fer2013_folders(root: Path) -> Manifest:
    labels = LABEL_SETS["fer2013"].labels
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for split in _SPLITS.values():
        for folder in sorted(p for p in (root / split).glob("[!.]*") if p.is_dir()):
            label = canonical(folder.name)
            if label not in labels:
                raise CorpusError(
                    f"{folder}: expected folders named {', '.join(labels)}, found {folder.name}."
                )
            for path in sorted(folder.glob("[!.]*")):
                if is_image(path):
                    samples.append(Sample(path, label, split=split))
                else:
                    left_out[f"{split}: no picture"] += 1
    if not samples:
        unpack = " Unpack the table: emoscope.corpora.readers.stills.unpack_fer2013(table, folder)."
        raise CorpusError(
            f"{root}: expected pictures in train/angry, test/angry and so on, "
            f"found {contents(root)}.{unpack if (root / 'fer2013.csv').is_file() else ''}"
        )
    return Manifest("fer2013", labels, tuple(samples), dict(left_out))


def unpack_fer2013(table: Path, root: Path) -> None:
    """Write the pictures of `fer2013.csv` as `root/train/anger/fer0000000.png` and so on.

    The number is that of the row, as in FER+'s names. `root` must not exist; it is made whole or
    not at all. Raises CorpusError.
    """
    if root.exists():
        raise CorpusError(f"{root}: exists already. Choose another folder.")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".emoscope-", dir=root.parent) as part:
            whole = Path(part) / "whole"
            _write_fer2013(table, whole)
            whole.replace(root)
    except OSError as error:
        raise CorpusError(f"{root}: cannot be written: {error.strerror}.") from None


def _write_fer2013(table: Path, root: Path) -> None:
    number = -1
    for number, (split, label, picture) in enumerate(_fer2013_rows(table)):
        folder = root / split / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"fer{number:07d}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    if number < 0:
        raise CorpusError(f"{table}: expected pictures, found no row.")


def _fer2013_rows(table: Path) -> Iterator[tuple[str, str, ByteArray]]:
    """Split, label and picture (48, 48) of every row. Raises CorpusError."""
    labels, side = LABEL_SETS["fer2013"].labels, _FER2013_SIDE_PX
    for line, row in _rows(table, ("emotion", "pixels", "Usage")):
        try:
            label, split = dict(zip("0123456", labels, strict=True))[row["emotion"]], row["Usage"]
            pixels = np.array(row["pixels"].split(), dtype=np.uint8).reshape(side, side)
            yield _SPLITS[split], label, pixels
        except (KeyError, AttributeError, ValueError, OverflowError):
            raise CorpusError(
                f"{table}, line {line}: expected an emotion from 0 to 6, {side * side} grey levels "
                f"and one of {', '.join(_SPLITS)}."
            ) from None
